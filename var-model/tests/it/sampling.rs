//! Properties of the sampler.

use std::ops::ControlFlow;

use tch::{Device, Kind, Tensor};
use var_model::sampling::{Draws, Guidance, Sampler, SamplingOptions, Step, Temperature};
use var_model::transformer::Initialisation;
use var_model::{Error, Order, ScaleSchedule, Transformer, TransformerConfig};
use var_tokenizer::VqVae;
use var_tokenizer::weights::portable;

fn pair() -> (Transformer, VqVae) {
    of_order(Order::NextScale, "1,2,3,4", 2)
}

/// A model with the weights of `seed`, and a tokenizer.
fn of_order(order: Order, schedule: &str, seed: u64) -> (Transformer, VqVae) {
    var_tokenizer::torch::start();
    let schedule: ScaleSchedule = schedule.parse().unwrap();
    let vae = super::support::tokenizer(&schedule);
    let config = TransformerConfig {
        depth: 2,
        width: 32,
        heads: 4,
        classes: 5,
        vocabulary: 24,
        latent_channels: 4,
        schedule,
        order,
        adaln: true,
        shared_adaln: false,
        qk_norm: true,
        input: None,
    };
    let mut model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, None).unwrap();
    portable::fill(model.parameters_mut(), seed);
    (model, vae)
}

const OPTIONS: SamplingOptions = SamplingOptions {
    cfg: 2.0,
    guidance: Guidance::Ramp,
    guided_scales: None,
    temperature: Temperature::Same(1.0),
    top_k: 12,
    top_p: 0.9,
    more_smooth: false,
};

#[test]
fn the_batch_size_changes_no_token() {
    let (model, vae) = pair();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let labels = [0, 3, 1, 4, 5];
    let together = sampler.sample(&labels, &Draws::new(11, (0..5).collect()), &OPTIONS).unwrap();
    for (i, &label) in labels.iter().enumerate() {
        let alone = sampler.sample(&[label], &Draws::new(11, vec![i as u64]), &OPTIONS).unwrap();
        assert_eq!(alone.ids, together.ids.narrow(0, i as i64, 1));
        let off = (&alone.images - together.images.narrow(0, i as i64, 1)).abs().max().double_value(&[]);
        assert!(off < 1e-4, "{off}");
    }
}

#[test]
fn the_same_seed_gives_the_same_tokens_and_another_seed_others() {
    let (model, vae) = pair();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let ids = |seed| sampler.sample(&[1, 2], &Draws::new(seed, vec![0, 1]), &OPTIONS).unwrap().ids;
    assert_eq!(ids(4), ids(4));
    assert_ne!(ids(4), ids(5));
}

#[test]
fn teacher_forcing_on_the_sample_gives_the_logits_that_chose_it() {
    let (model, vae) = pair();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let greedy = SamplingOptions { cfg: 0.0, top_k: 1, top_p: 0.0, ..OPTIONS };
    let sample = sampler.sample(&[2, 0], &Draws::new(0, vec![0, 1]), &greedy).unwrap();
    let vectors = vae.to_model_input(&sample.ids).unwrap();
    let logits = tch::no_grad(|| model.forward(&Tensor::from_slice(&[2_i64, 0]), &vectors, 4, None).unwrap());
    assert_eq!(logits.argmax(-1, false), sample.ids);
}

#[test]
fn without_guidance_the_unconditional_half_is_not_needed() {
    let (model, vae) = pair();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let draws = Draws::new(3, vec![0]);
    let off = SamplingOptions { cfg: 0.0, ..OPTIONS };
    let hair = SamplingOptions { cfg: 1e-9, ..OPTIONS };
    assert_eq!(
        sampler.sample(&[1], &draws, &off).unwrap().ids,
        sampler.sample(&[1], &draws, &hair).unwrap().ids
    );
}

#[test]
fn pictures_are_in_range_and_smooth_ones_differ() {
    let (model, vae) = pair();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let draws = Draws::new(3, vec![0]);
    let plain = sampler.sample(&[1], &draws, &OPTIONS).unwrap();
    let smooth = sampler.sample(&[1], &draws, &SamplingOptions { more_smooth: true, ..OPTIONS }).unwrap();
    assert_eq!(plain.images.size(), [1, 3, 8, 8]);
    assert!(plain.images.abs().max().double_value(&[]) <= 1.0);
    assert!((&plain.images - &smooth.images).abs().mean(Kind::Float).double_value(&[]) > 0.0);
}

#[test]
fn a_class_or_a_setting_out_of_range_is_refused() {
    let (model, vae) = pair();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let draws = Draws::new(0, vec![0]);
    let message = sampler.sample(&[6], &draws, &OPTIONS).unwrap_err().to_string();
    assert!(message.contains("classes 0 to 4"), "{message}");
    for options in [SamplingOptions { cfg: -1.0, ..OPTIONS }, SamplingOptions { top_p: 1.5, ..OPTIONS }] {
        assert!(sampler.sample(&[0], &draws, &options).is_err());
    }
}

#[test]
fn a_tokenizer_of_another_schedule_is_refused() {
    let (model, vae) = pair();
    let mut other = vae.config().clone();
    other.schedule = ScaleSchedule::new(vec![1, 4]).unwrap();
    let other = VqVae::new(&other, Device::Cpu, Some(0)).unwrap();
    let message = Sampler::new(&model, &other).unwrap_err().to_string();
    assert!(message.contains("1,2,3,4") && message.contains("1,4"), "{message}");
}

/// Ids that greedy sampling should give at every position, by teacher forcing with both halves: `guidance` per step, and
/// the model of each step.
fn greedy(models: &[&Transformer], vae: &VqVae, label: i64, ids: &Tensor, guidance: &[f64]) -> Tensor {
    let config = models[0].config();
    let vectors = config.model_input(vae.quantizer(), ids).unwrap();
    let logits = |model: &Transformer, label: i64| {
        let label = Tensor::from_slice(&[label]);
        tch::no_grad(|| model.forward(&label, &vectors, config.steps(), None).unwrap())
    };
    let parts: Vec<Tensor> = (0..config.steps())
        .map(|k| {
            let (range, t) = (config.step(k), guidance[k]);
            let guided = logits(models[k], label) * (1.0 + t) - logits(models[k], config.classes as i64) * t;
            guided.narrow(1, range.start as i64, range.len() as i64).argmax(-1, false)
        })
        .collect();
    Tensor::cat(&parts, 1)
}

const GREEDY: SamplingOptions = SamplingOptions { cfg: 3.0, top_k: 1, top_p: 0.0, ..OPTIONS };

#[test]
fn scales_after_the_last_guided_one_are_those_of_zero_guidance_with_both_halves() {
    let (model, vae) = pair();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let draws = Draws::new(0, vec![0]);
    let all = sampler.sample(&[2], &draws, &GREEDY).unwrap().ids;
    assert_eq!(greedy(&[&model; 4], &vae, 2, &all, &[0.0, 1.0, 2.0, 3.0]), all);
    for (range, guidance) in
        [("1-3", [0.0, 1.0, 2.0, 0.0]), ("3-3", [0.0, 0.0, 2.0, 0.0]), ("1-4", [0.0, 1.0, 2.0, 3.0])]
    {
        let options = SamplingOptions { guided_scales: Some(range.parse().unwrap()), ..GREEDY };
        let ids = sampler.sample(&[2], &draws, &options).unwrap().ids;
        assert_eq!(greedy(&[&model; 4], &vae, 2, &ids, &guidance), ids, "{range}");
        assert_eq!(ids == all, range == "1-4", "{range}");
    }
    let batch = sampler.sample(
        &[2, 0],
        &Draws::new(0, vec![0, 1]),
        &SamplingOptions { guided_scales: Some("1-2".parse().unwrap()), ..GREEDY },
    );
    assert_eq!(batch.unwrap().ids.size(), [2, 30]);
}

#[test]
fn a_temperature_per_scale_acts_on_its_scale_alone() {
    let (model, vae) = pair();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let ids = |temperature: &str| {
        let options =
            SamplingOptions { temperature: temperature.parse().unwrap(), top_k: 0, top_p: 0.0, ..OPTIONS };
        sampler.sample(&[1], &Draws::new(4, vec![0]), &options).unwrap().ids
    };
    assert_eq!(ids("1,1,1,1"), ids("1"));
    // The third scale has positions 5 to 13.
    let cold = ids("1,1,1e-6,1");
    assert_eq!(cold.narrow(1, 0, 5), ids("1").narrow(1, 0, 5));
    let likely = greedy(&[&model; 4], &vae, 1, &cold, &[0.0, 2.0 / 3.0, 4.0 / 3.0, 2.0]);
    assert_eq!(likely.narrow(1, 5, 9), cold.narrow(1, 5, 9));
    assert_ne!(likely.narrow(1, 14, 16), cold.narrow(1, 14, 16));
}

#[test]
fn the_small_model_continues_as_if_it_had_seen_the_first_scales_itself() {
    let (large, vae) = pair();
    let (small, _) = of_order(Order::NextScale, "1,2,3,4", 7);
    let sampler = || Sampler::new(&large, &vae).unwrap();
    let draws = Draws::new(5, vec![0, 1]);
    let both = |small: &Transformer, scales: usize, options: &SamplingOptions| {
        let sampler = sampler().with_small(small, scales, "small".into()).unwrap();
        sampler.sample(&[3, 1], &draws, options).unwrap().ids
    };
    let alone = sampler().sample(&[3, 1], &draws, &OPTIONS).unwrap().ids;
    for scales in 1..=4 {
        assert_eq!(
            both(&large, scales, &OPTIONS),
            alone,
            "{scales} scales by the large one of two equal models"
        );
    }
    assert_eq!(both(&small, 4, &OPTIONS), alone);
    for scales in 1..4 {
        let ids = both(&small, scales, &GREEDY).narrow(0, 0, 1);
        let models: Vec<&Transformer> = (0..4).map(|k| if k < scales { &large } else { &small }).collect();
        assert_eq!(greedy(&models, &vae, 3, &ids, &[0.0, 1.0, 2.0, 3.0]), ids, "{scales}");
        assert_ne!(ids, greedy(&[&large; 4], &vae, 3, &ids, &[0.0, 1.0, 2.0, 3.0]), "{scales}");
    }
    let refused = |small: &Transformer, scales: usize| {
        sampler().with_small(small, scales, "small".into()).map(drop).unwrap_err().to_string()
    };
    assert!(refused(&small, 5).contains("from 1 to 4") && refused(&small, 0).contains("from 1 to 4"));
    let (other, _) = of_order(Order::NextScale, "1,4", 7);
    assert!(refused(&other, 1).contains("the same tokenizer"));
}

#[test]
fn in_raster_order_each_token_is_the_likeliest_after_those_before_it() {
    let (model, vae) = of_order(Order::Raster, "4", 2);
    let sampler = Sampler::new(&model, &vae).unwrap();
    let sample = sampler.sample(&[2], &Draws::new(0, vec![0]), &GREEDY).unwrap();
    let guidance: Vec<f64> = (0..16).map(|i| 3.0 * f64::from(i) / 15.0).collect();
    assert_eq!(greedy(&[&model; 16], &vae, 2, &sample.ids, &guidance), sample.ids);
    assert_eq!(sample.latents.len(), 1);
    assert_eq!(sample.images.size(), [1, 3, 8, 8]);
    // A batch changes no token.
    let together = sampler.sample(&[4, 2], &Draws::new(9, vec![3, 5]), &OPTIONS).unwrap().ids;
    let alone = sampler.sample(&[2], &Draws::new(9, vec![5]), &OPTIONS).unwrap().ids;
    assert_eq!(together.narrow(0, 1, 1), alone);
}

#[test]
fn what_raster_order_cannot_do_is_refused() {
    let (model, vae) = of_order(Order::Raster, "4", 2);
    let sampler = Sampler::new(&model, &vae).unwrap();
    let refused = |options: SamplingOptions| {
        sampler.sample(&[2], &Draws::new(0, vec![0]), &options).map(drop).unwrap_err().to_string()
    };
    for (options, part) in [
        (SamplingOptions { more_smooth: true, ..OPTIONS }, "cannot mix codes"),
        (SamplingOptions { guided_scales: Some("1-1".parse().unwrap()), ..OPTIONS }, "has one scale"),
        (SamplingOptions { temperature: "1,2".parse().unwrap(), ..OPTIONS }, "give one temperature"),
    ] {
        let message = refused(options);
        assert!(message.contains("raster order") && message.contains(part), "{message}");
    }
    let next_scale = pair();
    assert!(Sampler::new(&model, &next_scale.1).is_err());
    let message = sampler.with_small(&next_scale.0, 1, String::new()).map(drop).unwrap_err().to_string();
    assert!(message.contains("next-scale models"), "{message}");
}

#[test]
fn a_watched_sample_is_the_same_and_each_step_is_seen_once() {
    for (order, schedule, maps) in [(Order::NextScale, "1,2,3,4", 4), (Order::Raster, "4", 1)] {
        let (model, vae) = of_order(order, schedule, 2);
        let sampler = Sampler::new(&model, &vae).unwrap();
        let draws = Draws::new(6, vec![0, 1]);
        let plain = sampler.sample(&[1, 5], &draws, &OPTIONS).unwrap();
        let (mut seen, mut latents) = (Vec::new(), Vec::new());
        let mut watch = |step: Step<'_>| {
            assert_eq!(step.steps, model.config().steps());
            seen.push(step.index);
            latents.extend(step.latent.map(Tensor::copy));
            ControlFlow::Continue(())
        };
        let watched = sampler.sample_watched(&[1, 5], &draws, &OPTIONS, None, &mut watch).unwrap();
        assert_eq!(seen, (0..model.config().steps()).collect::<Vec<_>>());
        assert_eq!((latents.len(), &latents), (maps, &plain.latents));
        assert_eq!((watched.ids, watched.images), (plain.ids, plain.images));
    }
}

#[test]
fn a_watcher_ends_the_sampling_before_the_next_step() {
    let (model, vae) = pair();
    let sampler = Sampler::new(&model, &vae).unwrap();
    let mut seen = 0;
    let mut watch = |step: Step<'_>| {
        seen = step.index + 1;
        if seen == 2 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    };
    let ended = sampler.sample_watched(&[1], &Draws::new(6, vec![0]), &OPTIONS, None, &mut watch);
    assert!(matches!(&ended, Err(Error::Interrupted(what)) if what.contains("scale 2 of 4")), "{ended:?}");
    assert_eq!(seen, 2);
}
