//! Extraction that is killed, stopped and resumed; networks that give no numbers.

use std::cell::Cell;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use image::RgbImage;
use var_eval::Error;
use var_eval::features::colour::ColourGrid;
use var_eval::features::extract::Extraction;
use var_eval::features::network::{Activations, FeatureNetwork, Identity};
use var_eval::features::store::{FeatureFile, partial_path};
use var_eval::inputs::pixels::PixelRule;
use var_eval::inputs::set::{PictureSet, Selection};
use var_tokenizer::progress::{Progress, Show};

use crate::score::pictures;

/// Images that are computed at once.
const BATCH: usize = 8;

/// A network that does something before each batch: `before` gets the number of batches that were asked for.
struct Watched<'a> {
    inner: ColourGrid,
    batches: Cell<usize>,
    before: &'a dyn Fn(usize),
}

impl<'a> Watched<'a> {
    fn new(before: &'a dyn Fn(usize)) -> Self {
        Self { inner: ColourGrid::default(), batches: Cell::new(0), before }
    }
}

impl FeatureNetwork for Watched<'_> {
    fn identity(&self) -> &Identity {
        self.inner.identity()
    }

    fn activations(&self, pictures: &[RgbImage]) -> var_eval::Result<Activations> {
        self.batches.set(self.batches.get() + 1);
        (self.before)(self.batches.get());
        self.inner.activations(pictures)
    }
}

fn extraction(set: &Path, out: &Path) -> Extraction {
    let pictures = PictureSet::open(set, &Selection::default(), PixelRule::Stored).unwrap();
    Extraction {
        pictures: Arc::new(pictures),
        out: out.to_owned(),
        batch: BATCH,
        restart: false,
        temporary: false,
        stop: Arc::new(AtomicBool::new(false)),
    }
}

fn run(set: &Path, out: &Path, before: &dyn Fn(usize)) -> Result<FeatureFile, Error> {
    extraction(set, out).run(&Watched::new(before), &mut Progress::new(Show::Quiet))
}

fn assert_equal(a: &FeatureFile, b: &FeatureFile) {
    assert_eq!(a.info(), b.info());
    assert_eq!(a.pictures_sha256(), b.pictures_sha256());
    assert_eq!((a.features().unwrap(), a.logits().unwrap()), (b.features().unwrap(), b.logits().unwrap()));
    assert_eq!((a.labels().unwrap(), a.indices().unwrap()), (b.labels().unwrap(), b.indices().unwrap()));
    assert_eq!((a.sizes().unwrap(), a.digests().unwrap()), (b.sizes().unwrap(), b.digests().unwrap()));
    assert_eq!(a.statistics().unwrap(), b.statistics().unwrap());
    assert_eq!(a.spatial_statistics().unwrap(), b.spatial_statistics().unwrap());
    assert_eq!(a.traits(), b.traits());
}

#[test]
fn a_killed_extraction_is_resumed_to_the_same_bytes() {
    let root = tempfile::tempdir().unwrap();
    let set = pictures(root.path(), "set", &[20, 20], 0);
    image::RgbaImage::from_pixel(12, 12, image::Rgba([9, 9, 9, 0])).save(set.join("c0/003.png")).unwrap();
    let (out, undisturbed) = (root.path().join("killed.h5"), root.path().join("undisturbed.h5"));
    // What a kill leaves while the fourth batch is computed.
    let killed = |batch| {
        if batch == 4 {
            std::fs::copy(partial_path(&undisturbed), partial_path(&out)).unwrap();
        }
    };
    let whole = run(&set, &undisturbed, &killed).unwrap();
    let message = FeatureFile::open(&out).unwrap_err().to_string();
    assert!(message.contains("killed.h5: is incomplete (written until row 24 of 40)"), "{message}");
    assert!(message.contains("Run the same command to resume the extraction."), "{message}");
    // A torn block, as a kill in the middle of a write leaves it.
    let mut journal = std::fs::read(partial_path(&out)).unwrap();
    journal.extend_from_slice(&[7; 50]);
    std::fs::write(partial_path(&out), journal).unwrap();
    let last = Cell::new(0);
    let resumed = run(&set, &out, &|batch| last.set(batch)).unwrap();
    assert_eq!(last.get(), 2);
    assert!(!partial_path(&out).exists());
    assert_eq!(resumed.traits().transparent, 1);
    assert_equal(&whole, &resumed);
}

#[test]
fn a_stopped_extraction_ends_with_three_and_refuses_other_pictures() {
    let root = tempfile::tempdir().unwrap();
    let set = pictures(root.path(), "set", &[20, 20], 0);
    let out = root.path().join("f.h5");
    let extraction = extraction(&set, &out);
    let stop = Arc::clone(&extraction.stop);
    let stopping = |batch| stop.store(batch == 2, Ordering::Relaxed);
    let stopped = extraction.run(&Watched::new(&stopping), &mut Progress::new(Show::Quiet)).unwrap_err();
    assert_eq!(stopped.exit_code(), 3);
    assert!(stopped.to_string().contains("Run the same command to resume"), "{stopped}");
    let refused = |words: &[&str]| {
        let e = run(&set, &out, &|_| ()).unwrap_err();
        assert_eq!(e.exit_code(), 2);
        assert!(words.iter().all(|word| e.to_string().contains(word)), "{e} lacks one of {words:?}");
    };
    // One image less: another set.
    let last = set.join("c1/019.png");
    let bytes = std::fs::read(&last).unwrap();
    std::fs::remove_file(&last).unwrap();
    refused(&["40 images, now 39", "restart option"]);
    std::fs::write(&last, bytes).unwrap();
    // The last image that was computed is another one now.
    let done = set.join("c0/015.png");
    let old = std::fs::read(&done).unwrap();
    std::fs::copy(set.join("c0/000.png"), &done).unwrap();
    refused(&["has changed", "restart option"]);
    std::fs::write(&done, old).unwrap();
    assert_eq!(run(&set, &out, &|_| ()).unwrap().len(), 40);
}

/// A network whose weights are damaged.
struct Damaged(ColourGrid);

impl FeatureNetwork for Damaged {
    fn identity(&self) -> &Identity {
        self.0.identity()
    }

    fn activations(&self, pictures: &[RgbImage]) -> var_eval::Result<Activations> {
        let mut found = self.0.activations(pictures)?;
        found.logits.as_mut().unwrap()[[1, 0]] = f32::NAN;
        Ok(found)
    }
}

#[test]
fn activations_that_are_no_numbers_are_refused_by_network_and_images_and_nothing_is_written() {
    let root = tempfile::tempdir().unwrap();
    let set = pictures(root.path(), "set", &[20], 0);
    let out = root.path().join("f.h5");
    let network = Damaged(ColourGrid::default());
    let e = extraction(&set, &out).run(&network, &mut Progress::new(Show::Quiet)).unwrap_err();
    let text = e.to_string();
    for word in ["logits of images 0 to 7", "set", "colour-grid", "1 of 24 values are NaN"] {
        assert!(text.contains(word), "{text} lacks {word}");
    }
    assert!(!out.exists());
}

#[test]
fn images_that_are_repaired_are_read_by_the_same_command() {
    let root = tempfile::tempdir().unwrap();
    let set = pictures(root.path(), "set", &[6], 0);
    let (aside, out) = (root.path().join("aside"), root.path().join("f.h5"));
    std::fs::create_dir(&aside).unwrap();
    for entry in std::fs::read_dir(set.join("c0")).unwrap() {
        let path = entry.unwrap().path();
        std::fs::rename(&path, aside.join(path.file_name().unwrap())).unwrap();
        std::fs::write(&path, "no image").unwrap();
    }
    let message = run(&set, &out, &|_| ()).unwrap_err().to_string();
    assert!(message.contains("no image could be read"), "{message}");
    for entry in std::fs::read_dir(&aside).unwrap() {
        let path = entry.unwrap().path();
        std::fs::rename(&path, set.join("c0").join(path.file_name().unwrap())).unwrap();
    }
    assert_eq!(run(&set, &out, &|_| ()).unwrap().len(), 6);
}
