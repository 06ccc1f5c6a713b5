//! One training step and one validation of the transformer.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use tch::{Device, Kind, Tensor};
use var_model::{Transformer, TransformerConfig, cost};
use var_tokenizer::random::Stream;
use var_tokenizer::tokens::SplitTokens;
use var_tokenizer::torch::kernels::cross_entropy;
use var_tokenizer::weights::{Parameters, StateDict};
use var_tokenizer::{ScaleSchedule, VqVae, quantizer::Quantizer};

use super::progressive::{Stage, Stages};
use super::regularisation::{drop_condition, drop_path};
use super::scores::Sums;
use crate::average::Average;
use crate::data::Order;
use crate::distributed::{Ranks, nothing};
use crate::engine::task::Task;
use crate::error::{Error, Result};
use crate::loss_scale::LossScale;
use crate::records::{Losses, ModelLosses, ModelScores, Scores};
use crate::settings::ModelRun;
use crate::throughput::Cost;

/// Tokens `[N, L]` and labels `[N]` of one split, in memory.
#[derive(Debug)]
pub struct TokenRows(SplitTokens);

impl TokenRows {
    /// Wraps a split of a token file.
    pub fn new(split: SplitTokens) -> Self {
        Self(split)
    }

    /// Number of rows.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it has no rows.
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Ids `[B, L]` and labels of these rows.
    fn rows(&self, indices: &[usize], device: Device) -> (Tensor, Vec<i64>) {
        let mut ids = Vec::with_capacity(indices.len() * self.0.length);
        let mut labels = Vec::with_capacity(indices.len());
        for &index in indices {
            if self.0.copy_row(index, &mut ids) {
                labels.extend(self.0.labels.get(index).map(|&l| i64::from(l)));
            }
        }
        let ids = Tensor::from_slice(&ids).view([labels.len() as i64, self.0.length as i64]);
        (ids.to_device(device), labels)
    }
}

/// The transformer with its data.
#[derive(Debug)]
pub struct ModelTask {
    model: Transformer,
    quantizer: Quantizer,
    train: TokenRows,
    validation: TokenRows,
    settings: ModelRun,
    order: Order,
    ranks: Ranks,
    compute: Kind,
    waited: Duration,
    stages: Option<Stages>,
    /// Weight of each token in the loss; `None`: all the same.
    weights: Option<Vec<f64>>,
    average: Option<Average>,
    /// In fp16.
    scale: Option<LossScale>,
}

impl ModelTask {
    /// Trains `config` on `train` and scores `validation`, on the device of `tokenizer`, with products in `compute`
    /// (`Float`, `BFloat16`, or `Half` with a scaled loss).
    ///
    /// # Errors
    /// When the configuration does not fit together, or a part has no rows.
    pub fn new(
        config: &TransformerConfig,
        tokenizer: VqVae,
        train: TokenRows,
        validation: TokenRows,
        settings: &ModelRun,
        compute: Kind,
    ) -> Result<Self> {
        if train.is_empty() || validation.is_empty() {
            return Err(Error::config("training needs at least one training and one held-out row of tokens"));
        }
        let device = tokenizer.device();
        let seed = settings.training.seed;
        let mut model = Transformer::new(config, &settings.initialisation, device, Some(seed))?;
        model.set_compute_kind(compute);
        model.set_recompute(settings.model.recompute);
        let order = Order::new(seed, train.len());
        let steps = settings.training.total_steps(train.len());
        let stages = Stages::of(settings, steps, config.schedule.scales())?;
        let weights = settings.model.scale_loss_weights.per_token(&config.schedule)?;
        let decay = settings.model.ema;
        let average = (decay > 0.0).then(|| Average::new(model.parameters(), decay));
        Ok(Self {
            model,
            // Training needs no encoder and decoder.
            quantizer: tokenizer.into_quantizer(),
            train,
            validation,
            settings: settings.clone(),
            order,
            ranks: Ranks::ALONE,
            compute,
            waited: Duration::ZERO,
            stages,
            weights,
            average,
            scale: (compute == Kind::Half).then(LossScale::default),
        })
    }

    /// Takes the share of this rank from every batch and from the held-out rows. Only rank 0 averages weights.
    pub(crate) fn among(mut self, ranks: Ranks) -> Self {
        self.ranks = ranks;
        self.average = self.average.filter(|_| ranks.leads());
        self
    }

    /// Cross-entropy and errors (1 where another code is more likely) of the first `scales` scales, which have `l` tokens:
    /// `[B, l]` each, from all tokens `ids` `[B, L]`.
    fn losses(
        &self,
        ids: &Tensor,
        labels: &[i64],
        scales: usize,
        masks: Option<&Tensor>,
        smoothing: f64,
    ) -> Result<(Tensor, Tensor)> {
        let config = self.model.config();
        // Fewer scales than all are trained in next-scale order only, in which a scale is a step.
        let steps = if scales < config.schedule.scales() { scales } else { config.steps() };
        let seen = config.step(steps - 1).end;
        let vectors = config.model_input(&self.quantizer, ids)?;
        let vectors = vectors.narrow(1, 0, (seen - config.step(0).len()) as i64);
        let ids = ids.narrow(1, 0, seen as i64);
        let labels = Tensor::from_slice(labels).to_device(self.model.device());
        let logits = self.model.forward(&labels, &vectors, steps, masks)?;
        let (batch, tokens, vocabulary) = logits.size3()?;
        let losses = cross_entropy(&logits.view([-1, vocabulary]), &ids.reshape([-1]), smoothing)?;
        Ok((losses.loss.view([batch, tokens]), (losses.hit.neg() + 1.0).view([batch, tokens])))
    }

    /// Weight of each token of a stage, whose token maps are `schedule`; `None` if all tokens are trained and count the same.
    ///
    /// As published, the weights of tokens that are not trained yet are not given to others.
    fn weights_of(&self, stage: Stage, schedule: &ScaleSchedule) -> Option<Vec<f64>> {
        let all = &self.model.config().schedule;
        let partial = stage.scales < all.scales();
        let weights = match &self.weights {
            Some(weights) => weights.clone(),
            None if partial => vec![1.0 / all.tokens() as f64; all.tokens()],
            None => return None,
        };
        let newest = schedule.range(stage.scales - 1);
        let weight =
            |(i, weight): (usize, f64)| if newest.contains(&i) { weight * stage.newest } else { weight };
        Some(weights.into_iter().take(schedule.tokens()).enumerate().map(weight).collect())
    }

    /// Scores of the held-out rows with the present weights.
    fn score(&self) -> Result<ModelScores> {
        let network = &self.settings.model;
        let config = self.model.config();
        let rows = match network.validation_rows {
            0 => self.validation.len(),
            n => n.min(self.validation.len()),
        };
        let own = self.ranks.share(rows);
        let batch = self.ranks.share(self.settings.training.batch).len();
        let micro = (batch / self.settings.training.accumulation).max(1);
        let drops = Stream::new("validation-dropout", self.settings.training.seed);
        let mut sums = Sums::new(&config.schedule);
        tch::no_grad(|| -> Result<()> {
            let all: Vec<usize> = own.clone().collect();
            for (part, rows) in all.chunks(micro).enumerate() {
                let (ids, labels) = self.validation.rows(rows, self.model.device());
                let first = (own.start + part * micro) as u64;
                let labels =
                    drop_condition(&labels, config.classes as i64, network.validation_drop, &drops, first);
                let every = config.schedule.scales();
                let (entropy, errors) = self.losses(&ids, &labels, every, None, 0.0)?;
                sums.add(&entropy, &errors)?;
            }
            Ok(())
        })?;
        sums.join(self.ranks)?;
        Ok(sums.scores())
    }

    /// Exchanges the weights with their average, on all ranks; a second call undoes it.
    fn exchange_average(&mut self) -> Result<()> {
        if let Some(average) = &mut self.average {
            average.exchange()?;
        }
        if self.ranks.size() > 1 {
            // Only rank 0 averages, and all ranks have the same weights.
            let weights: Vec<Tensor> =
                self.model.parameters().trainable().map(|p| p.tensor.detach()).collect();
            self.ranks.broadcast(&weights)?;
        }
        Ok(())
    }
}

impl Task for ModelTask {
    fn parameters(&self) -> &Parameters {
        self.model.parameters()
    }

    fn metadata(&self) -> Result<BTreeMap<String, String>> {
        Ok(self.model.metadata()?)
    }

    fn step(&mut self, step: u64, detailed: bool) -> Result<Losses> {
        let (training, network) = (&self.settings.training, &self.settings.model);
        let config = self.model.config();
        let last = if network.drop_path < 0.0 { config.published_drop_path() } else { network.drop_path };
        let conditions = Stream::new("condition-dropout", training.seed).at(step);
        let paths = Stream::new("drop-path", training.seed).at(step);
        let indices: Vec<usize> =
            self.order.batch(step, training.batch).into_iter().map(|(example, _)| example).collect();
        let every = config.schedule.scales();
        let stage = self.stages.map_or(Stage { scales: every, newest: 1.0 }, |stages| stages.at(step));
        let partial = stage.scales < every;
        let factor = self.scale.map_or(1.0, |scale| scale.factor());
        let schedule =
            ScaleSchedule::new(config.schedule.sides().iter().copied().take(stage.scales).collect())?;
        let weights = self.weights_of(stage, &schedule);
        let on_device = weights
            .as_ref()
            .map(|weights| Tensor::from_slice(weights).to_kind(Kind::Float).to_device(self.model.device()));
        // Randomness depends on the place of a sample in the whole batch, never on the rank.
        let own = self.ranks.share(training.batch);
        let micro = (own.len() / training.accumulation).max(1);
        let parts = indices.get(own.clone()).unwrap_or_default().chunks(micro);
        let mut sums = Sums::new(&schedule);
        let last_part = parts.len().saturating_sub(1);
        for (part, rows) in parts.enumerate() {
            let first = (own.start + part * micro) as u64;
            let began = Instant::now();
            let (ids, labels) = self.train.rows(rows, self.model.device());
            self.waited += began.elapsed();
            let labels =
                drop_condition(&labels, config.classes as i64, network.condition_drop, &conditions, first);
            let masks = drop_path(config.depth, rows.len(), last, &paths, first, self.model.device());
            let (entropy, errors) =
                self.losses(&ids, &labels, stage.scales, masks.as_ref(), network.label_smoothing)?;
            let share = rows.len() as f64 / own.len() as f64;
            let loss = match &on_device {
                Some(weights) => (&entropy * weights).sum(Kind::Float) / rows.len() as f64,
                None => entropy.mean(Kind::Float),
            };
            let loss = if stage.scales == 1 { loss + nothing(self.model.parameters())? } else { loss };
            self.ranks.backward(&(loss * (share * factor)), part == last_part)?;
            sums.add(&entropy, &errors)?;
        }
        sums.join(self.ranks)?;
        let ModelScores { loss_all, loss_last, err_all, err_last, loss_per_scale, err_per_scale, .. } =
            sums.scores();
        let loss = weights.map_or(loss_all, |weights| sums.weighted(&weights));
        let progressive = self.stages.is_some();
        Ok(Losses::Model(ModelLosses {
            loss_all,
            // The last scale of all is not trained yet.
            loss_last: (!partial).then_some(loss_last),
            err_all,
            err_last: (!partial).then_some(err_last),
            loss_per_scale: detailed.then_some(loss_per_scale),
            err_per_scale: detailed.then_some(err_per_scale),
            loss,
            loss_scale: self.scale.is_some().then_some(factor),
            scales: progressive.then_some(stage.scales),
            newest_weight: progressive.then_some(stage.newest),
        }))
    }

    fn validate(&mut self, _step: u64) -> Result<Scores> {
        let mut scores = self.score()?;
        if self.settings.model.ema > 0.0 {
            self.exchange_average()?;
            let average = self.score();
            // Also after a failure: the weights come back.
            self.exchange_average()?;
            scores.average = Some(Box::new(average?));
        }
        Ok(Scores::Model(scores))
    }

    fn average(&mut self) -> Option<&mut Average> {
        self.average.as_mut()
    }

    fn loss_scale(&mut self) -> Option<&mut LossScale> {
        self.scale.as_mut()
    }

    fn numbers(&self) -> BTreeMap<String, f64> {
        self.scale.map(LossScale::to_map).unwrap_or_default()
    }

    fn restore(
        &mut self,
        _tensors: &BTreeMap<String, Tensor>,
        numbers: &BTreeMap<String, f64>,
    ) -> Result<()> {
        if let Some(scale) = &mut self.scale {
            *scale = LossScale::from_map(numbers)?;
        }
        Ok(())
    }

    fn load(&mut self, weights: &StateDict) -> Result<()> {
        Ok(self.model.load_tensors(weights)?)
    }

    fn sizes(&self) -> (usize, usize) {
        (self.settings.training.batch, self.model.config().schedule.tokens())
    }

    fn cost(&self) -> Cost {
        Cost { flops: cost::training_flops(self.model.config()), compute: self.compute }
    }

    fn waited(&self) -> f64 {
        self.waited.as_secs_f64()
    }
}
