//! Sources of labelled images, decoding, resizing, framing, grids.
//!
//! A [`Source`] lists images with classes. [`Source::partition`] says which are held out. [`Source::load_batch`]
//! decodes some of them on all cores into `[B, 3, side, side]` in [−1, 1].
//!
//! ```
//! use var_tokenizer::images::{Framing, Source, View};
//!
//! let emoji = Source::open("emoji")?;
//! let parts = emoji.partition(0.1, 0)?;
//! let items: Vec<_> = parts.val.iter().take(4).map(|&index| (index, View::CENTRE)).collect();
//! let batch = emoji.load_batch(&items, &Framing::new(32)?);
//! assert_eq!(batch.pixels.len(), 4 * 3 * 32 * 32);
//! # Ok::<(), var_tokenizer::Error>(())
//! ```

mod archives;
mod batch;
mod below;
mod blob;
mod catalogue;
mod cifar;
pub mod decode;
mod division;
pub mod emoji;
mod folder;
mod foreign;
pub mod grid;
mod labels;
mod listing;
mod name_list;
mod names;
pub mod npz;
mod parquets;
mod partition;
pub(crate) mod pattern;
mod recent;
pub mod resize;
mod source;
mod split;
mod stock;
mod tarball;
mod text_list;
pub mod transform;

pub use batch::{Bad, Batch, Report};
pub use decode::{Decoded, Pixels, Traits, is_image_name, read_image, read_pixels};
pub use emoji::EMOJI;
pub(crate) use foreign::check_plain;
pub use grid::{Grid, write_png};
pub use listing::Entry;
pub(crate) use npz::is_torch_zip;
pub use source::Source;
pub use split::{Partition, Split};
pub use transform::{Framing, Placement, View, from_tensor, from_unit, to_unit};
