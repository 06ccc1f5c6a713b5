//! The sections of the page, from top to bottom.

use super::Material;
use super::html::{escape, image, number, table};
use crate::error::Result;
use crate::plot::SweepFigure;
use crate::quantity::{count, duration, flops};
use crate::result_line::ResultLine;
use crate::results::precisions;

/// Number of different sizes.
fn size_count(material: &Material) -> usize {
    let mut names: Vec<String> = material.results.lines.iter().map(ResultLine::size).collect();
    names.sort();
    names.dedup();
    names.len()
}

/// The run with the lowest loss.
fn best(material: &Material) -> Option<&ResultLine> {
    material.results.lines.iter().min_by(|a, b| a.val_loss_all.total_cmp(&b.val_loss_all))
}

/// Title, summary and main numbers.
pub(crate) fn head(material: &Material) -> String {
    let lines = &material.results.lines;
    let (Some(first), Some(last), Some(best)) = (lines.first(), lines.last(), best(material)) else {
        return String::new();
    };
    let sizes = size_count(material);
    let falls = material.results.equal_lengths().windows(2).all(|w| match w {
        [a, b] => b.val_loss_all <= a.val_loss_all || a.size() == b.size(),
        _ => true,
    });
    let data = material.record.shared.get("data").map_or("its images", |d| match d.as_str() {
        "emoji" => "the built-in emoji",
        path => std::path::Path::new(path).file_name().and_then(|n| n.to_str()).unwrap_or(path),
    });
    let span = last.params as f64 / first.params.max(1) as f64;
    let order = if falls && sizes > 1 {
        "The validation loss falls from each size to the next."
    } else if last.val_loss_all < first.val_loss_all {
        "The largest size has a lower validation loss than the smallest, but some sizes are worse than a smaller one."
    } else {
        "The largest size does not have a lower validation loss than the smallest."
    };
    let tokens = match material.results.lengths().as_slice() {
        [shortest, .., longest] => format!("{} to {}", count(*shortest as f64), count(*longest as f64)),
        _ => count(last.tokens as f64),
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
                "lowest validation loss in nats per token, of {} ({:.3} at the last scale)",
                best.size(),
                best.val_loss_last
            ),
        ),
        tile(
            format!("{:.1} %", 100.0 * (1.0 - best.val_err_all)),
            "of the held-out tokens are predicted exactly by this model",
        ),
        tile(flops(compute), &format!("of training compute in {}", duration(seconds))),
    ];
    let reconstruction = material.record.stages.reconstruction.as_ref();
    if let Some(psnr) = reconstruction.and_then(|stage| Some(stage.result.as_ref()?.scores.psnr)) {
        tiles.push(tile(format!("{psnr:.1} dB"), "PSNR of the reconstructions of the tokenizer (below)"));
    }
    format!(
        "<h1>Scaling of visual autoregressive models</h1>\n<p class=\"lead\">{} trained on {} with {tokens} tokens each. {order}</p>\n\
         <div class=\"tiles\">\n{}</div>\n",
        if sizes == 1 { "One size".to_owned() } else { format!("{sizes} sizes") },
        escape(data),
        tiles.concat()
    )
}

/// The table of sizes, with warnings.
pub(crate) fn sizes(material: &Material) -> String {
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
    // Losses come first, because a phone shows only the first columns.
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
                number(l.params as f64, &count(l.params as f64)),
                number(l.tokens as f64, &count(l.tokens as f64)),
                number(l.flops, &flops(l.flops)),
                number(l.seconds, &duration(l.seconds)),
            ]);
            (best.as_ref() == Some(&l.name), cells)
        })
        .collect();
    let missing = material.unfinished();
    let missing = if missing.is_empty() {
        String::new()
    } else {
        format!(
            "<p class=\"warn\">Started but not finished: {}. To complete them, run the same command again.</p>\n",
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
            "<p class=\"warn\">The sizes were trained in different precisions ({}). This can change the differences \
             between them and all laws below. To avoid it, train all sizes in one precision, in a new folder.</p>\n",
            escape(&precisions.join(" and "))
        )
    } else {
        String::new()
    };
    format!(
        "<h2>Sizes</h2>\n<div class=\"sizes\">{}</div>{missing}{skipped}{mixture}<p class=\"note\">Loss: cross-entropy in nats per token. Error: share of tokens \
         that are not the most likely token of the model. Both are measured on held-out images. The size with the lowest \
         loss is coloured.</p>\n",
        table(&head, &rows)
    )
}

/// A plot with its caption.
pub(crate) fn figure(figure: &SweepFigure) -> String {
    match (figure.wide().svg(), figure.narrow().svg()) {
        (Ok(wide), Ok(narrow)) => format!(
            "<figure><div class=\"wide\">{}</div><div class=\"narrow\">{}</div><figcaption>{}</figcaption></figure>\n",
            named(&wide, &figure.caption),
            named(&narrow, &figure.caption),
            escape(&figure.caption)
        ),
        (Err(e), _) | (_, Err(e)) => {
            format!("<p class=\"warn\">Cannot draw this plot: {}.</p>\n", escape(&e))
        }
    }
}

/// The SVG with its caption for screen readers.
fn named(svg: &str, caption: &str) -> String {
    svg.replacen("<svg ", &format!("<svg role=\"img\" aria-label=\"{}\" ", escape(caption)), 1)
}

/// Plots next to each other.
pub(crate) fn plots(material: &Material, stems: &[&str]) -> String {
    let figures: String =
        stems.iter().filter_map(|s| material.figures.iter().find(|f| f.stem == *s)).map(figure).collect();
    format!("<h2>Curves</h2>\n<div class=\"plots\">\n{figures}</div>\n")
}

/// The other plots.
pub(crate) fn more_plots(material: &Material) -> String {
    let stems = [
        "loss-parameters-reducible",
        "loss-lengths-all",
        "training-curves",
        "loss-lengths-last",
        "loss-parameters-last",
        "loss-compute-last",
        "error-parameters-all",
        "error-compute-all",
        "error-parameters-last",
        "error-compute-last",
    ];
    plots(material, &stems).replacen("<h2>Curves</h2>", "<h2>More curves</h2>", 1)
}

/// The scores of images by size; empty without scores.
pub(crate) fn scores(material: &Material) -> String {
    let Some(scores) = &material.results.scores else { return String::new() };
    let lines = || material.results.lines.iter().filter_map(|l| Some((l, *scores.by_run.get(&l.name)?)));
    let best = lines().map(|(_, value)| value).fold(f64::INFINITY, f64::min);
    let rows: Vec<(bool, Vec<String>)> = lines()
        .map(|(l, value)| {
            let cells = vec![
                escape(&l.name),
                format!("{value:.2}"),
                format!("{:.4}", l.val_loss_all),
                number(l.params as f64, &count(l.params as f64)),
            ];
            (value == best, cells)
        })
        .collect();
    let images = |n: Option<u64>| n.map_or_else(|| "an unknown number of".into(), |n| n.to_string());
    let plot: String = material.figures.iter().filter(|f| f.stem == "score-parameters").map(figure).collect();
    let distance = format!("#{}", scores.name);
    format!(
        "<h2>Scores of images</h2>\n<div class=\"plots\">\n{plot}</div>\n{}<p class=\"note\">{} between {} samples of each \
         model (<code>{}</code>) and {} images of {}. Lower is better. The score depends on the number of images: compare \
         scores only within this table. The protocol of each score is in <code>evaluation/{}/metrics.md</code> in the folder \
         of its run.</p>\n",
        table(&["Size", &distance, "#Loss, all scales", "#Parameters"], &rows),
        escape(&scores.name),
        images(scores.counts.0),
        escape(&scores.settings),
        images(scores.counts.1),
        escape(&scores.reference),
        escape(&scores.settings),
    )
}

/// Reconstructions and sample grids.
pub(crate) fn images(material: &Material) -> Result<String> {
    let mut text = String::new();
    let samples = material.folder.join("samples");
    if let Some(strip) = image(&samples.join("reconstruction.png"), "Reconstructions of held-out images")? {
        text.push_str(&format!(
            "<h2>What the tokenizer keeps</h2>\n<figure>{strip}<figcaption>Held-out images. The left column is the \
             original. The next columns are the images from the tokens of the first scale, of the first two scales, and so \
             on. The last column is the full reconstruction. Samples come out of the same decoder.</figcaption></figure>\n"
        ));
    }
    let mut grids = String::new();
    for line in material.results.lines.iter().chain(&material.results.held_out) {
        let alternative = format!("Samples of {}", line.size());
        if let Some(grid) = image(&samples.join(format!("{}.png", line.name)), &alternative)? {
            grids.push_str(&format!(
                "<figure><h3>{} · {} parameters</h3>{grid}<figcaption>Validation loss {:.3}. One class per row, \
                 seed {}.</figcaption></figure>\n",
                escape(&line.name),
                count(line.params as f64),
                line.val_loss_all,
                line.seed
            ));
        }
    }
    if !grids.is_empty() {
        text.push_str(&format!("<h2>Samples of each size</h2>\n<div class=\"grids\">\n{grids}</div>\n"));
    }
    Ok(text)
}

/// The limits of the numbers.
pub(crate) fn limits(material: &Material) -> String {
    let lines = &material.results.lines;
    let several = lines.windows(2).any(|w| matches!(w, [a, b] if a.size() == b.size() && a.seed != b.seed));
    let mut points = vec![
        "Compare losses only within one sweep: another tokenizer has other tokens.".to_owned(),
        "The irreducible parts and the exponents hold for these images, this tokenizer and this length of training."
            .into(),
        "All sizes have one recipe. A size that needs another learning rate or a longer training has a loss that is too \
         high."
            .into(),
        match &material.results.scores {
            None => "A lower validation loss does not always mean better images. This page has no image scores; \
                     `cargo xtask eval-fid` adds them."
                .into(),
            Some(_) => "A lower validation loss does not always mean better images. A score of few images is biased and \
                        noisy."
                .into(),
        },
        match &material.forecasts {
            None => "No number on this page is extrapolated. Outside the range of the trained sizes, the curves are guesses.",
            Some(_) => "Only the forecasts of held-out sizes are extrapolated. Elsewhere outside the range of the trained \
                        sizes, the curves are guesses.",
        }
        .into(),
    ];
    if !several {
        points.insert(
            0,
            "Each size was trained once. Another seed gives other numbers, and small differences between neighbouring \
             sizes can be noise. To measure this noise, train each size with several seeds."
                .into(),
        );
    }
    let items: String = points.iter().map(|p| format!("<li>{}</li>\n", escape(p))).collect();
    format!("<h2>What the numbers do not say</h2>\n<ul>\n{items}</ul>\n")
}
