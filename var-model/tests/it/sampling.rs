//! Properties of the sampler.

use tch::{Device, Kind, Tensor};
use var_model::sampling::{Draws, Guidance, Sampler, SamplingOptions};
use var_model::transformer::Initialisation;
use var_model::{ScaleSchedule, Transformer, TransformerConfig};
use var_tokenizer::VqVae;
use var_tokenizer::weights::portable;

fn pair() -> (Transformer, VqVae) {
    var_tokenizer::torch::start();
    let schedule = ScaleSchedule::new(vec![1, 2, 3, 4]).unwrap();
    let vae = super::support::tokenizer(&schedule);
    let config = TransformerConfig {
        depth: 2,
        width: 32,
        heads: 4,
        classes: 5,
        vocabulary: 24,
        latent_channels: 4,
        schedule,
        order: var_model::Order::NextScale,
        shared_adaln: false,
        qk_norm: true,
        input: None,
    };
    let mut model = Transformer::new(&config, &Initialisation::default(), Device::Cpu, None).unwrap();
    portable::fill(model.parameters_mut(), 2);
    (model, vae)
}

const OPTIONS: SamplingOptions = SamplingOptions {
    cfg: 2.0,
    guidance: Guidance::Ramp,
    temperature: 1.0,
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
