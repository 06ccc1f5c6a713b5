//! Trains a tiny tokenizer on a folder of images, encodes them, and trains a tiny transformer on the tokens:
//! `cargo run --release -p var-train --example train -- IMAGES OUT`.

use std::ops::ControlFlow;
use std::path::Path;

use var_tokenizer::encode::{EncodeRequest, encode};
use var_tokenizer::progress::{Progress, Show};
use var_train::settings::{ModelRun, TokenizerRun};
use var_train::{TrainModel, TrainTokenizer};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [images, out] = arguments.as_slice() else {
        return Err("give a folder of images, and a folder to write".into());
    };
    let out = Path::new(out);

    let set = ["steps=40", "batch=8", "image_side=0", "schedule=1,2,4", "channel_multipliers=1,1"];
    let settings = TokenizerRun::preset("nano", set)?;
    let training = TrainTokenizer::new(images, out.join("tokenizer")).settings(settings);
    let trained = training.run(|_| ControlFlow::Continue(()))?;
    println!("tokenizer: PSNR {:.1} dB", trained.psnr);

    let tokens = out.join("tokens.h5");
    encode(&EncodeRequest::new(images, &trained.tokenizer, &tokens), &mut Progress::new(Show::Quiet))?;

    let settings = ModelRun::preset("nano", ["depth=1", "width=32", "heads=1", "steps=20", "batch=8"])?;
    let training = TrainModel::new(&tokens, &trained.tokenizer, out.join("model")).settings(settings);
    let result = training.run(|step| {
        println!("step {}: loss {:.4}", step.step, step.loss());
        ControlFlow::Continue(())
    })?;
    println!("held-out loss {:.4}", result.val_loss_all);
    Ok(())
}
