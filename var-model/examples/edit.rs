//! Generates the white pixels of a mask anew with the built-in model:
//! `cargo run --release --example edit -- photo.png mask.png animals-nature out.png`.
//!
//! `Var::open` takes a run folder or a model file in the same way.

use var_model::{Edit, Var};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [photo, mask, class, out] = arguments.as_slice() else {
        return Err("give a photo, a mask, a class, and a file to write".into());
    };
    let (photo, mask) = (image::open(photo)?.to_rgb8(), image::open(mask)?.to_rgb8());
    let edited = Var::open("builtin")?.edit(&photo, &Edit::inpaint(&mask).class(class.as_str()))?;
    edited[0].save(out)?;
    Ok(())
}
