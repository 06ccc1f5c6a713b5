//! The tokenizer as a task of the training loop: its training step and its state.

mod validation;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};
use var_tokenizer::cost;
use var_tokenizer::images::{Grid, Report};
use var_tokenizer::quantizer::{ScaleDropout, Usage};
use var_tokenizer::random::Stream;
use var_tokenizer::torch::check_finite;
use var_tokenizer::weights::{Parameters, StateDict};
use var_tokenizer::{LAST_LAYER, PERCEPTUAL_KEY, VqVae};

use super::adversary::{Adversary, Judged, Verdict};
use super::codebook::{k_means, replace_unused};
use super::objective::{Adversarial, Objective, Terms};
use super::perceptual::Perceptual;
use super::pictures::Pictures;
use crate::average::Average;
use crate::data::Order;
use crate::distributed::{Ranks, nothing};
use crate::engine::task::Task;
use crate::error::{Error, Result};
use crate::records::{AdversaryLosses, Losses, Scores, TokenizerLosses, TokenizerScores};
use crate::schedule::Schedule;
use crate::settings::TokenizerRun;
use crate::throughput::Cost;

/// The key in checkpoints for skipped images: their number, and the place of each in the source.
const LEFT_OUT: &str = "left_out";
/// Start of the names of the quantizer's parameters.
const QUANTIZER: &str = "quantize.";
/// Name of the codebook.
const CODES: &str = "quantize.embedding.weight";
/// Updates of the usage average before it can raise an alarm.
const SETTLED: u64 = 50;

/// The tokenizer with its images.
#[derive(Debug)]
pub(crate) struct TokenizerTask {
    vae: VqVae,
    train: Pictures,
    validation: Pictures,
    settings: TokenizerRun,
    order: Order,
    usage: Usage,
    /// Hits of every code since the last replacement, `[V]`.
    window: Tensor,
    /// The vectors that the last batch looked up: per micro-batch and scale those of this rank, `[N, z]`.
    rows: Vec<Tensor>,
    /// First step with quantization.
    quantize_from: u64,
    /// First step without replacements.
    replace_until: u64,
    perceptual: Option<Perceptual>,
    adversary: Option<Adversary>,
    average: Option<Average>,
    /// Steps of the run, and its learning rates.
    steps: u64,
    schedule: Schedule,
    compute: Kind,
    waited: Duration,
    ranks: Ranks,
}

impl TokenizerTask {
    /// Trains on the first part of the images and scores the second, for `steps` steps, with the network of the perceptual
    /// loss, on a device, with products in a type (`Float` or `BFloat16`).
    ///
    /// # Errors
    /// When the configuration does not fit together, or a part has no images.
    pub(crate) fn new(
        settings: &TokenizerRun,
        [train, validation]: [Pictures; 2],
        perceptual: Option<Perceptual>,
        steps: u64,
        (device, compute): (Device, Kind),
    ) -> Result<Self> {
        if train.is_empty() || validation.is_empty() {
            return Err(Error::config("a tokenizer needs at least one training and one held-out image"));
        }
        let seed = settings.training.seed;
        let mut vae = VqVae::new(&settings.tokenizer, device, Some(seed))?;
        vae.set_compute_kind(compute);
        let usage = vae.usage(0).ok_or_else(|| Error::config("the tokenizer has no usage buffer"))?;
        let vocabulary = settings.tokenizer.vocabulary as i64;
        let adversary = settings.adversary.is_on();
        let adversary = adversary.then(|| Adversary::new(&settings.adversary, &settings.training, device));
        let adversary = adversary.transpose()?;
        Ok(Self {
            order: Order::new(seed, train.len()),
            window: Tensor::zeros([vocabulary], (Kind::Float, device)),
            rows: Vec::new(),
            ranks: Ranks::ALONE,
            quantize_from: settings.recipe.first_quantized(steps),
            replace_until: settings.recipe.replacements_end(steps),
            perceptual,
            adversary,
            average: (settings.recipe.ema > 0.0).then(|| Average::new(vae.parameters(), settings.recipe.ema)),
            steps,
            schedule: settings.training.schedule(steps),
            compute,
            waited: Duration::ZERO,
            settings: settings.clone(),
            vae,
            train,
            validation,
            usage,
        })
    }

    /// Takes the share of this rank from every batch. Only rank 0 averages weights, and scores.
    pub(crate) fn among(mut self, ranks: Ranks) -> Self {
        self.ranks = ranks;
        self.average = self.average.filter(|_| ranks.leads());
        self.adversary.iter_mut().for_each(|adversary| adversary.among(ranks));
        self
    }

    /// Takes the weights of another tokenizer, its codebook included.
    ///
    /// # Errors
    /// Lists every missing, unexpected and mis-shaped tensor.
    pub(crate) fn start_from(&mut self, weights: &StateDict) -> Result<()> {
        self.vae.load_tensors(weights)?;
        self.average.as_mut().map_or(Ok(()), |average| average.copy_below(""))
    }

    /// Which training and held-out images this rank alone could read so far, and which it could not.
    pub(crate) fn reports(&self) -> Vec<Report> {
        let told = |part: &&Pictures| self.ranks.leads() || !part.is_decoded();
        [&self.train, &self.validation].into_iter().filter(told).map(Pictures::report).collect()
    }

    /// Number of images that some rank could not read.
    ///
    /// # Errors
    /// When another rank is lost.
    pub(crate) fn unreadable(&self) -> Result<u64> {
        let mut unreadable = vec![0.0; self.train.of_source()];
        for place in self.parts().iter().flat_map(|(_, part)| part.left_out()) {
            unreadable.get_mut(place).into_iter().for_each(|mark| *mark = 1.0);
        }
        self.ranks.sum(&mut unreadable)?;
        Ok(unreadable.iter().filter(|&&ranks| ranks > 0.0).count() as u64)
    }

    /// Training and held-out images, with their names in checkpoints.
    fn parts(&self) -> [(&'static str, &Pictures); 2] {
        [("train", &self.train), ("val", &self.validation)]
    }

    /// Starts the codebook on all ranks, and φ as the identity.
    fn start_codebook(&mut self) -> Result<()> {
        self.ranks.on_leader((), || self.cluster())?;
        self.ranks.broadcast(&[self.vae.quantizer().codebook().embedding().detach()])?;
        self.vae.quantizer().phi().reset_to_identity();
        self.average.as_mut().map_or(Ok(()), |average| average.copy_below(QUANTIZER))
    }

    /// Clusters the residuals of some training images. The centres become the codes.
    fn cluster(&mut self) -> Result<()> {
        let recipe = &self.settings.recipe;
        let count = recipe.kmeans_pictures.clamp(1, self.train.len());
        let mut rows = Vec::new();
        let all: Vec<(usize, u64)> = (0..count as u64).map(|i| self.order.example(i)).collect();
        for part in all.chunks(self.settings.training.batch) {
            let images = self.train.batch(part, self.settings.training.seed, recipe.flip)?;
            let latent = tch::no_grad(|| self.vae.latent(&images.to_device(self.vae.device())))?;
            rows.extend(self.vae.quantizer().residual_rows(&latent)?);
        }
        let stream = Stream::new("k-means", self.settings.training.seed);
        let vocabulary = self.settings.tokenizer.vocabulary;
        let rows = Tensor::cat(&rows, 0);
        check_finite(&rows, || "the residuals that k-means clusters".into())?;
        tch::no_grad(|| {
            let centres = k_means(&rows, vocabulary, recipe.kmeans_rounds, &stream);
            check_finite(&centres, || "the codebook from k-means".into())?;
            self.vae.quantizer().codebook().embedding().detach().f_copy_(&centres)?;
            Ok(())
        })
    }

    /// Runs `work` with the average of the weights, if there is one: the tokenizer that the run gives.
    fn averaged<T>(&mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        self.average.as_mut().map_or(Ok(()), Average::exchange)?;
        let found = work(self);
        self.average.as_mut().map_or(Ok(()), Average::exchange)?;
        found
    }

    /// Share of the adversary's weight at `step`; 0 before it starts, without one, and for batches of fewer scales.
    fn factor(&self, step: u64) -> f64 {
        match &self.adversary {
            Some(_) if self.kept(step).is_none() => self.settings.adversary.factor(step, self.steps),
            _ => 0.0,
        }
    }

    /// The perceptual loss, once it has started and unless the images of `step` keep fewer scales.
    fn perceptual(&self, step: u64) -> Option<&Perceptual> {
        let counts = self.settings.perceptual.counts_at(step, self.steps) && self.kept(step).is_none();
        self.perceptual.as_ref().filter(|_| counts)
    }

    /// How many scales the images of `step` keep; `None` when they keep all.
    ///
    /// Such a batch has no perceptual and no adversarial loss: in a trial, they drew the same grid into all early scales,
    /// for an image that is right to be blurred.
    fn kept(&self, step: u64) -> Option<usize> {
        let recipe = &self.settings.recipe;
        let stream = Stream::new("scale-dropout", self.settings.training.seed).at(step);
        let fewer = self.settings.tokenizer.schedule.scales().saturating_sub(recipe.scale_dropout_keeps);
        let drops = step >= self.quantize_from && stream.draw(0) < recipe.scale_dropout;
        drops.then(|| recipe.scale_dropout_keeps + stream.below(1, fewer as u64) as usize)
    }

    /// The tokenizer's loss on a micro-batch, and its gradients.
    fn generate(
        &self,
        images: &Tensor,
        reconstruction: &Tensor,
        vq: Option<&Tensor>,
        (judged, last): (Judged<'_>, bool),
    ) -> Result<Terms> {
        let (recipe, settings) = (&self.settings.recipe, &self.settings.adversary);
        let factor = self.factor(judged.step);
        let loss;
        let adversarial = match &self.adversary {
            Some(adversary) if factor > 0.0 => {
                loss = move |y: &Tensor| adversary.generator(y, judged);
                let last_layer = self.vae.parameters().get(LAST_LAYER).filter(|_| settings.adaptive);
                Some(Adversarial { loss: &loss, weight: settings.weight, factor, last_layer })
            }
            _ => None,
        };
        let objective = Objective {
            l1: recipe.l1,
            l2: recipe.l2,
            vq: recipe.vq,
            perceptual: self.perceptual(judged.step).map(|loss| (loss, self.settings.perceptual.weight)),
            adversarial,
            ranks: self.ranks,
        };
        objective.backward(images, reconstruction, vq, (judged.share, last))
    }

    /// The losses of `step`, after the discriminator's step.
    fn losses(&mut self, step: u64, terms: &Terms, verdict: &Verdict) -> Result<TokenizerLosses> {
        let factor = self.factor(step);
        let adversary = match &mut self.adversary {
            Some(adversary) if factor > 0.0 => {
                let d_grad_norm = adversary.step(self.schedule.learning_rate(step), verdict)?;
                Some(AdversaryLosses {
                    g_loss: terms.adversarial,
                    g_weight: terms.weight * factor,
                    d_loss: verdict.loss,
                    d_real_logit: verdict.real_logit,
                    d_fake_logit: verdict.fake_logit,
                    d_real_right: verdict.real_right,
                    d_fake_right: verdict.fake_right,
                    d_grad_norm,
                })
            }
            _ => None,
        };
        let alarm = self.adversary.as_ref().and_then(Adversary::alarm);
        let perceptual = self.perceptual(step).map(|_| terms.perceptual);
        let Terms { total: loss, l1, l2, vq, .. } = *terms;
        Ok(TokenizerLosses {
            loss,
            l1,
            l2,
            vq,
            perceptual,
            adversary,
            alarm,
            scales: self.kept(step),
            ..TokenizerLosses::default()
        })
    }

    /// Counts the codes of a batch, given per micro-batch and scale on this rank.
    fn note_use(&mut self, ids_of_scales: &[Vec<Tensor>]) -> Result<()> {
        let vocabulary = self.settings.tokenizer.vocabulary as i64;
        let hits: Vec<Tensor> = (0..self.settings.tokenizer.schedule.scales())
            .map(|k| {
                let parts: Vec<Tensor> =
                    ids_of_scales.iter().filter_map(|s| s.get(k)).map(|t| t.flatten(0, -1)).collect();
                Tensor::cat(&parts, 0).bincount::<Tensor>(None, vocabulary).to_kind(Kind::Float)
            })
            .collect();
        let hits = self.ranks.joint_sum(&Tensor::f_stack(&hits, 0)?)?;
        self.usage.update_hits(&hits);
        self.window += hits.sum_dim_intlist([0_i64].as_slice(), false, Kind::Float);
        Ok(())
    }

    /// Adds the use of the codes per scale to `losses`, and an alarm for collapsed scales.
    fn report_use(&self, losses: &mut TokenizerLosses) {
        let schedule = &self.settings.tokenizer.schedule;
        let side = schedule.last_side();
        let usage = self.usage.per_scale(self.settings.training.batch, side * side);
        // A perplexity below 2 is less than one bit. The average needs some steps to settle.
        if self.usage.updates() >= SETTLED {
            let collapsed = usage.iter().enumerate().filter(|(_, u)| u.perplexity < 2.0);
            let collapsed = alarm(&collapsed.map(|(k, _)| schedule.side(k)).collect::<Vec<_>>());
            let all: Vec<String> = [losses.alarm.take(), collapsed].into_iter().flatten().collect();
            losses.alarm = (!all.is_empty()).then(|| all.join("; "));
        }
        losses.used_per_scale = Some(usage.iter().map(|u| u.used).collect());
        losses.perplexity_per_scale = Some(usage.iter().map(|u| u.perplexity).collect());
    }
}

/// The warning about collapsed scales with these sides; `None` when there are none.
fn alarm(sides: &[usize]) -> Option<String> {
    if sides.is_empty() {
        return None;
    }
    let names: Vec<String> = sides.iter().map(|side| format!("{side}×{side}")).collect();
    Some(format!(
        "scale {} collapsed: it uses almost no codes; raise replace_until, lower the learning rate or the commitment",
        names.join(", ")
    ))
}

impl Task for TokenizerTask {
    fn parameters(&self) -> &Parameters {
        self.vae.parameters()
    }

    fn metadata(&self) -> Result<BTreeMap<String, String>> {
        let mut metadata = self.vae.metadata()?;
        let perceptual = &self.settings.perceptual;
        if perceptual.is_on() {
            metadata.insert(PERCEPTUAL_KEY.to_owned(), perceptual.network.name());
        }
        Ok(metadata)
    }

    fn step(&mut self, step: u64, detailed: bool) -> Result<Losses> {
        let quantizing = step >= self.quantize_from;
        if step == self.quantize_from && self.settings.recipe.start_from.is_empty() {
            self.start_codebook()?;
        }
        let (batch, seed) = (self.settings.training.batch, self.settings.training.seed);
        let picks = self.order.batch(step, batch);
        // Randomness depends on the place of an image in the whole batch, never on the rank.
        let own = self.ranks.share(batch);
        let micro = (own.len() / self.settings.training.accumulation).max(1);
        let kept = self.kept(step);
        let blur = self.settings.adversary.blur_at(step, self.steps);
        let (mut terms, mut verdict) = (Terms::default(), Verdict::default());
        self.rows.clear();
        let mut ids_of_scales: Vec<Vec<Tensor>> = Vec::new();
        let parts = picks.get(own.clone()).unwrap_or_default().chunks(micro);
        let last_part = parts.len().saturating_sub(1);
        for (number, part) in parts.enumerate() {
            let began = Instant::now();
            let flip = self.settings.recipe.flip;
            let images = self.train.batch(part, seed, flip)?.to_device(self.vae.device());
            self.waited += began.elapsed();
            let first = own.start + number * micro;
            let (reconstruction, vq) = if quantizing {
                let dropout = kept.map(|kept| ScaleDropout::new(vec![kept; part.len()]));
                let output = self.vae.training_forward(&images, dropout.as_ref())?;
                self.rows.extend(output.rows);
                ids_of_scales.push(output.ids);
                (output.reconstruction, Some(output.vq_loss))
            } else {
                let several = self.ranks.size() > 1;
                let nothing = several.then(|| nothing(self.vae.parameters())).transpose()?;
                (self.vae.decode_latent(&self.vae.latent(&images)?)?, nothing)
            };
            let places: Vec<u64> = (first as u64..(first + part.len()) as u64).collect();
            let share = part.len() as f64 / own.len() as f64;
            let judged = Judged { step, places: &places, share, blur };
            terms.add(
                &self.generate(&images, &reconstruction, vq.as_ref(), (judged, number == last_part))?,
                share,
            );
            if self.factor(step) > 0.0
                && let Some(adversary) = &mut self.adversary
            {
                verdict.add(&adversary.judge(&images, &reconstruction, judged)?, share);
            }
        }
        terms.join(self.ranks)?;
        if self.factor(step) > 0.0 {
            verdict.join(self.ranks)?;
        }
        let mut losses = self.losses(step, &terms, &verdict)?;
        if quantizing {
            self.note_use(&ids_of_scales)?;
            if detailed {
                self.report_use(&mut losses);
            }
        }
        Ok(Losses::Tokenizer(losses))
    }

    fn after_step(&mut self, step: u64) -> Result<()> {
        let every = self.settings.recipe.replace_every;
        if every == 0 || step < self.quantize_from || !(step + 1 - self.quantize_from).is_multiple_of(every) {
            return Ok(());
        }
        if step < self.replace_until && !self.rows.is_empty() {
            let rows: Vec<Tensor> =
                self.rows.iter().map(|rows| self.ranks.joint_rows(rows)).collect::<Result<_>>()?;
            let rows = Tensor::f_cat(&rows, 0)?;
            check_finite(&rows, || "the vectors that replace unused codes".into())?;
            let stream = Stream::new("replace-codes", self.settings.training.seed).at(step);
            let codes = self.vae.quantizer().codebook().embedding();
            let moved = replace_unused(codes, &self.window, &rows, &stream);
            if let Some(average) = &mut self.average {
                average.copy_rows(CODES, &moved)?;
            }
        }
        let _ = self.window.zero_();
        Ok(())
    }

    fn validate(&mut self, step: u64) -> Result<Scores> {
        let elsewhere = Scores::Tokenizer(TokenizerScores::default());
        let ranks = self.ranks;
        ranks.on_leader(elsewhere, || self.averaged(|task| Ok(Scores::Tokenizer(task.score(step)?))))
    }

    fn picture(&mut self, step: u64) -> Result<Option<Grid>> {
        self.averaged(|task| task.strip(step).map(Some))
    }

    fn average(&mut self) -> Option<&mut Average> {
        self.average.as_mut()
    }

    fn extra(&self) -> BTreeMap<String, Tensor> {
        let mut extra = BTreeMap::from([("window".to_owned(), self.window.shallow_clone())]);
        extra.extend(self.adversary.iter().flat_map(Adversary::tensors));
        extra
    }

    fn numbers(&self) -> BTreeMap<String, f64> {
        let left_out = self.parts().map(|(part, pictures)| (part, pictures.left_out()));
        let mut numbers = BTreeMap::from([
            ("usage_updates".to_owned(), self.usage.updates() as f64),
            (LEFT_OUT.to_owned(), left_out.iter().map(|(_, places)| places.len()).sum::<usize>() as f64),
        ]);
        numbers.extend(self.adversary.iter().flat_map(Adversary::numbers));
        for (part, places) in &left_out {
            numbers.extend(places.iter().map(|place| (format!("{LEFT_OUT}.{part}.{place}"), 1.0)));
        }
        numbers
    }

    fn restore(&mut self, tensors: &BTreeMap<String, Tensor>, numbers: &BTreeMap<String, f64>) -> Result<()> {
        let window = tensors.get("window").filter(|w| w.size() == self.window.size());
        let window =
            window.ok_or_else(|| Error::config("the checkpoint has no hits of the codes (extra.window)"))?;
        self.window.f_copy_(window)?;
        if let Some(adversary) = &mut self.adversary {
            adversary.restore(tensors, numbers)?;
        }
        // Checkpoints of earlier versions do not have the key.
        if numbers.contains_key(LEFT_OUT) {
            for (part, pictures) in self.parts() {
                let before = format!("{LEFT_OUT}.{part}.");
                let places = numbers.keys().filter_map(|key| key.strip_prefix(&before)?.parse().ok());
                pictures.recall(&places.collect())?;
            }
        }
        let updates = numbers.get("usage_updates").copied().unwrap_or(0.0) as u64;
        if let Some(usage) = self.vae.usage(updates) {
            self.usage = usage;
        }
        Ok(())
    }

    fn load(&mut self, weights: &StateDict) -> Result<()> {
        Ok(self.vae.load_tensors(weights)?)
    }

    fn sizes(&self) -> (usize, usize) {
        (self.settings.training.batch, self.settings.tokenizer.schedule.tokens())
    }

    fn cost(&self) -> Cost {
        Cost { flops: cost::training_flops(&self.settings.tokenizer), compute: self.compute }
    }

    fn waited(&self) -> f64 {
        self.waited.as_secs_f64()
    }
}
