//! The parts of the page, from top to bottom.

use serde_json::Value;

use super::Material;
use super::html::{escape, image, table};
use crate::error::Result;
use crate::fit::law::{FittedLaw, Irreducible, Status, number};
use crate::fit::verdict;
use crate::plot::Figure;
use crate::result_line::ResultLine;
use crate::results::precisions;
use crate::words::{count, duration, flops};

/// Sizes of the sweep, by parameters.
fn size_count(material: &Material) -> usize {
    let mut names: Vec<String> = material.results.lines.iter().map(ResultLine::size).collect();
    names.sort();
    names.dedup();
    names.len()
}

/// The line of least loss.
fn best(material: &Material) -> Option<&ResultLine> {
    material.results.lines.iter().min_by(|a, b| a.val_loss_all.total_cmp(&b.val_loss_all))
}

/// Title, a sentence, the headline figures.
pub fn head(material: &Material) -> String {
    let lines = &material.results.lines;
    let (Some(first), Some(last), Some(best)) = (lines.first(), lines.last(), best(material)) else {
        return String::new();
    };
    let sizes = size_count(material);
    let falls = lines.windows(2).all(|w| match w {
        [a, b] => b.val_loss_all <= a.val_loss_all || a.size() == b.size(),
        _ => true,
    });
    let data = material.record.shared.get("data").map_or("its pictures", |d| match d.as_str() {
        "emoji" => "the built-in emoji",
        path => std::path::Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or(path),
    });
    let span = last.params as f64 / first.params.max(1) as f64;
    let order = if falls && sizes > 1 {
        "Validation loss falls with every step in size."
    } else if last.val_loss_all < first.val_loss_all {
        "Validation loss falls along the ladder, though not at every step."
    } else {
        "Validation loss does not fall along the ladder."
    };
    let seconds: f64 = lines.iter().map(|l| l.seconds).sum();
    let compute: f64 = lines.iter().map(|l| l.flops).sum();
    let tile = |value: String, text: &str| {
        format!("<div class=\"tile\"><b>{}</b><span>{}</span></div>\n", escape(&value), escape(text))
    };
    let mut tiles = vec![
        tile(
            sizes.to_string(),
            &format!(
                "sizes, {} to {} parameters (×{span:.0})",
                count(first.params as f64),
                count(last.params as f64)
            ),
        ),
        tile(
            format!("{:.3}", best.val_loss_all),
            &format!(
                "best validation loss in nats per token, of {} ({:.3} at the last scale)",
                best.size(),
                best.val_loss_last
            ),
        ),
        tile(
            format!("{:.1} %", 100.0 * (1.0 - best.val_err_all)),
            "of held-out tokens predicted exactly by that model",
        ),
        tile(flops(compute), &format!("of training compute in {}", duration(seconds))),
    ];
    if let Some(psnr) = stage_number(material, "reconstruction", &["scores", "psnr"]) {
        tiles.push(tile(format!("{psnr:.1} dB"), "PSNR of the tokenizer's reconstructions below"));
    }
    format!(
        "<h1>Scaling of visual autoregressive models</h1>\n<p class=\"lead\">{} trained on {} with {} tokens each. {order}</p>\n\
         <div class=\"tiles\">\n{}</div>\n",
        if sizes == 1 { "One size".to_owned() } else { format!("{sizes} sizes") },
        escape(data),
        count(last.tokens as f64),
        tiles.concat()
    )
}

fn stage_number(material: &Material, stage: &str, path: &[&str]) -> Option<f64> {
    let mut value: &Value = &material.record.stages.get(stage)?.result;
    for key in path {
        value = value.get(key)?;
    }
    value.as_f64()
}

/// The table of sizes, and what did not finish.
pub fn sizes(material: &Material) -> String {
    let lines = &material.results.lines;
    let best = best(material).map(|b| b.name.clone());
    let seeds = lines.iter().any(|l| l.seed != lines.first().map_or(0, |f| f.seed));
    let precisions = precisions(lines);
    let mixed = precisions.len() > 1;
    let mut head = vec!["Size"];
    if seeds {
        head.push("#Seed");
    }
    if mixed {
        head.push("Precision");
    }
    // Losses first: on a phone the first columns are all that is seen.
    head.extend([
        "#Loss, all scales",
        "#Loss, last scale",
        "#Error, all",
        "#Error, last",
        "#Parameters",
        "#Tokens",
        "#Compute",
        "#Time",
    ]);
    let rows: Vec<(bool, Vec<String>)> = lines
        .iter()
        .map(|l| {
            let blocks = if l.depth == 1 { "block" } else { "blocks" };
            let mut cells = vec![escape(&format!("{} {blocks} × {}", l.depth, l.width))];
            if seeds {
                cells.push(l.seed.to_string());
            }
            if mixed {
                cells.push(escape(if l.precision.is_empty() { "not known" } else { &l.precision }));
            }
            cells.extend([
                format!("{:.4}", l.val_loss_all),
                format!("{:.4}", l.val_loss_last),
                format!("{:.2} %", 100.0 * l.val_err_all),
                format!("{:.2} %", 100.0 * l.val_err_last),
                count(l.params as f64),
                count(l.tokens as f64),
                flops(l.flops),
                duration(l.seconds),
            ]);
            (best.as_ref() == Some(&l.name), cells)
        })
        .collect();
    let missing: Vec<&str> = material
        .record
        .runs
        .keys()
        .filter(|name| !lines.iter().any(|l| l.name == **name))
        .map(String::as_str)
        .collect();
    let missing = if missing.is_empty() {
        String::new()
    } else {
        format!(
            "<p class=\"warn\">Begun but not finished: {}. The same command completes them.</p>\n",
            escape(&missing.join(", "))
        )
    };
    let skipped: String = material
        .results
        .skipped
        .iter()
        .map(|what| format!("<p class=\"warn\">{}.</p>\n", escape(what)))
        .collect();
    let mixture = if mixed {
        format!(
            "<p class=\"warn\">The sizes were not trained in one precision ({}). What that changes is in the \
             differences between them, and so in every law below; a sweep with one --precision in a new --out \
             would be without it.</p>\n",
            escape(&precisions.join(" and "))
        )
    } else {
        String::new()
    };
    format!(
        "<h2>Sizes</h2>\n<div class=\"sizes\">{}</div>{missing}{skipped}{mixture}<p class=\"note\">Loss is the cross-entropy in nats per token, error the share \
         of tokens that are not the most likely one, both on held-out pictures. The best row is tinted.</p>\n",
        table(&head, &rows)
    )
}

fn figure(figure: &Figure) -> String {
    match (figure.wide().svg(), figure.narrow().svg()) {
        (Ok(wide), Ok(narrow)) => format!(
            "<figure><div class=\"wide\">{}</div><div class=\"narrow\">{}</div><figcaption>{}</figcaption></figure>\n",
            named(&wide, &figure.caption),
            named(&narrow, &figure.caption),
            escape(&figure.caption)
        ),
        (Err(e), _) | (_, Err(e)) => {
            format!("<p class=\"warn\">This plot could not be drawn: {}.</p>\n", escape(&e))
        }
    }
}

/// The SVG with a text for those who cannot see it.
fn named(svg: &str, caption: &str) -> String {
    svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", escape(caption)), 1)
}

/// Some plots side by side.
pub fn plots(material: &Material, stems: &[&str]) -> String {
    let figures: String =
        stems.iter().filter_map(|s| material.figures.iter().find(|f| f.stem == *s)).map(figure).collect();
    format!("<h2>Curves</h2>\n<div class=\"plots\">\n{figures}</div>\n")
}

/// The other plots.
pub fn more_plots(material: &Material) -> String {
    let stems = [
        "loss-parameters-reducible",
        "training-curves",
        "loss-parameters-last",
        "loss-compute-last",
        "error-parameters-all",
        "error-compute-all",
        "error-parameters-last",
        "error-compute-last",
    ];
    plots(material, &stems).replacen("<h2>Curves</h2>", "<h2>More curves</h2>", 1)
}

/// The laws in a table, with their verdicts in words.
pub fn laws(material: &Material) -> String {
    let rows: Vec<(bool, Vec<String>)> = material.fits.laws.iter().map(|l| (false, law(l))).collect();
    let notes: Vec<String> = {
        let mut notes: Vec<&String> = material.fits.laws.iter().flat_map(|l| &l.notes).collect();
        notes.sort();
        notes.dedup();
        notes.into_iter().map(|n| format!("<li>{}.</li>\n", escape(n))).collect()
    };
    let head = [
        "Law",
        "Exponent α",
        "Irreducible part",
        "Verdict",
        "~In words",
        "#Pearson",
        "#Points",
        "#Paper's α",
    ];
    format!(
        "<h2>Laws</h2>\n<p>Every law has the form L = L∞ + (β·X)<sup>α</sup>: what is left above the irreducible \
         part L∞ falls as a power of the parameters N or of the training compute C. For losses, L∞ is fitted \
         together with the exponent unless it was given; for error rates it is 0, as in the paper. An exponent is \
         given only with its interval (95 %, profile likelihood on one mean per size), and not at all where these points \
         cannot carry one. A law is determined when its intervals have both ends and its sizes scatter no more than \
         their seeds.</p>\n{}\
         <ul class=\"note\">\n{}<li>Pearson's correlation is taken between the logarithms of X and of the reducible \
         part (of the whole value where there is no fit).</li>\n<li>The paper's exponents were measured on ImageNet \
         with models thousands of times larger; they stand here as labels, not as a target.</li>\n</ul>\n",
        table(&head, &rows),
        notes.concat()
    )
}

fn law(law: &FittedLaw) -> Vec<String> {
    let tag = if law.status == Status::Determined { "strong" } else { "span" };
    let (exponent, irreducible) = match law.coefficients {
        Some(c) => (
            format!(
                "<{tag}>{}</{tag}><br><span class=\"note\">{}</span>",
                number(c.alpha.value),
                verdict::ends(&c.alpha, number)
            ),
            match law.irreducible {
                Irreducible::Given => {
                    format!("{}<br><span class=\"note\">given</span>", verdict::loss(c.irreducible.value))
                }
                Irreducible::Fitted => format!(
                    "{}<br><span class=\"note\">fitted, {}</span>",
                    verdict::loss(c.irreducible.value),
                    verdict::ends(&c.irreducible, verdict::loss)
                ),
            },
        ),
        None => ("none".into(), "—".into()),
    };
    let (class, badge) = match law.status {
        Status::Determined => ("badge", "determined"),
        Status::Wide => ("badge no", "not determined"),
        Status::TooFewSizes => ("badge no", "too few sizes"),
        Status::AtBound => ("badge no", "at a bound"),
        Status::NotFalling => ("badge no", "does not fall"),
    };
    // The numbers of a verdict stand in the columns already.
    let words = match (law.coefficients, law.verdict.split_once("; ")) {
        (Some(_), Some((_, rest))) => rest,
        (Some(_), None) => "",
        (None, _) => &law.verdict,
    };
    vec![
        format!(
            "<strong>{}</strong><br><span class=\"note\">{}</span>",
            escape(&law.subject.name),
            escape(&law.subject.quantity)
        ),
        exponent,
        irreducible,
        format!("<span class=\"{class}\">{badge}</span>"),
        escape(words),
        law.pearson.map_or_else(|| "—".into(), |p| format!("{p:.3}").replace('-', "−")),
        law.points.len().to_string(),
        law.published.map_or_else(|| "—".into(), |p| number(p.0)),
    ]
}

/// Scores of pictures by size; nothing where none was measured.
pub fn scores(material: &Material) -> String {
    let Some(scores) = &material.results.scores else { return String::new() };
    let lines = || material.results.lines.iter().filter_map(|l| Some((l, *scores.by_run.get(&l.name)?)));
    let best = lines().map(|(_, value)| value).fold(f64::INFINITY, f64::min);
    let rows: Vec<(bool, Vec<String>)> = lines()
        .map(|(l, value)| {
            let cells = vec![
                escape(&l.name),
                format!("{value:.2}"),
                format!("{:.4}", l.val_loss_all),
                count(l.params as f64),
            ];
            (value == best, cells)
        })
        .collect();
    let number = |n: Option<u64>| n.map_or_else(|| "an unstated number of".into(), |n| n.to_string());
    let plot: String = material.figures.iter().filter(|f| f.stem == "score-parameters").map(figure).collect();
    let distance = format!("#{}", scores.name);
    format!(
        "<h2>Scores of pictures</h2>\n<div class=\"plots\">\n{plot}</div>\n{}<p class=\"note\">{} of {} samples of each \
         model (<code>{}</code>) and {} pictures of {}; lower is better. It depends on the number of pictures: only \
         scores of one table compare. Each has its protocol in <code>evaluation/{}/metrics.md</code> of its run.</p>\n",
        table(&["Size", &distance, "#Loss, all scales", "#Parameters"], &rows),
        escape(&scores.name),
        number(scores.counts.0),
        escape(&scores.settings),
        number(scores.counts.1),
        escape(&scores.reference),
        escape(&scores.settings),
    )
}

/// Reconstructions and sample grids.
pub fn pictures(material: &Material) -> Result<String> {
    let mut text = String::new();
    let samples = material.folder.join("samples");
    if let Some(picture) = image(&samples.join("reconstruction.png"), "Reconstructions of held-out pictures")?
    {
        text.push_str(&format!(
            "<h2>What the tokenizer keeps</h2>\n<figure>{picture}<figcaption>Held-out pictures. Left the original, \
             then what the tokens of the first scale, of the first two, and so on decode to; the last column is the \
             full reconstruction and bounds what any model can draw.</figcaption></figure>\n"
        ));
    }
    let mut grids = String::new();
    for line in &material.results.lines {
        let alternative = format!("Samples of {}", line.size());
        if let Some(picture) = image(&samples.join(format!("{}.png", line.name)), &alternative)? {
            grids.push_str(&format!(
                "<figure><h3>{} · {} parameters</h3>{picture}<figcaption>Validation loss {:.3}; one class a row, \
                 seed {}.</figcaption></figure>\n",
                escape(&line.name),
                count(line.params as f64),
                line.val_loss_all,
                line.seed
            ));
        }
    }
    if !grids.is_empty() {
        text.push_str(&format!("<h2>Samples of every size</h2>\n<div class=\"grids\">\n{grids}</div>\n"));
    }
    Ok(text)
}

/// What is not to be read out of the page.
pub fn limits(material: &Material) -> String {
    let lines = &material.results.lines;
    let several = lines.windows(2).any(|w| matches!(w, [a, b] if a.size() == b.size()));
    let mut points = vec![
        "Losses of different tokenizers do not compare: they count different tokens. Only the sizes of one sweep do."
            .to_owned(),
        "The irreducible part belongs to this data, this tokenizer and this length of training; so does the exponent."
            .into(),
        "All sizes saw the same number of tokens under one recipe. A size that would like another learning rate or a \
         longer run is placed too high."
            .into(),
        match &material.results.scores {
            None => "A lower validation loss is not a better picture by itself; no picture score is part of this page \
                     (cargo xtask eval-fid --run SWEEP-FOLDER adds them)."
                .into(),
            Some(_) => "A lower validation loss is not a better picture by itself, and a score of few pictures has bias and \
                        scatter of its own."
                .into(),
        },
        "Nothing here was extrapolated: outside of the sizes that were trained, the curves are guesses.".into(),
    ];
    if !several {
        points.insert(
            0,
            "Every size was trained once. What another seed would change is not in the numbers, and small differences \
             between neighbours may be nothing else; --seeds N trains each size several times."
                .into(),
        );
    }
    let items: String = points.iter().map(|p| format!("<li>{}</li>\n", escape(p))).collect();
    format!("<h2>What the numbers do not say</h2>\n<ul>\n{items}</ul>\n")
}
