//! How much a request may ask for, and how many wait.

use crate::outputs::scales::MOST_SHOWN;

/// Places of the queue. A request has a place until its last event is read. Most requests take one; those with a large
/// photo, or with many large images, take more.
pub(super) const PLACES: usize = 16;
/// Pixels of a photo that take one more place in the queue.
pub(super) const PHOTO_PIXELS_PER_PLACE: u64 = 1 << 22;
/// Pixels of sampled images, those after each scale included, that take one more place.
pub(super) const PIXELS_PER_PLACE: u64 = 1 << 24;
/// Maximum number of images of one request.
pub(super) const MOST_IMAGES: usize = 64;
/// Maximum number of classes of one request.
pub(super) const MOST_CLASSES: usize = 32;
/// Maximum number of results of one edit.
pub(super) const MOST_VARIANTS: usize = 4;
/// Maximum number of images in a strip or an animation.
pub(super) const MOST_SCALE_IMAGES: usize = MOST_SHOWN;
/// Maximum size of a photo file, in bytes.
pub(super) const MOST_PHOTO_BYTES: usize = 32 << 20;
/// Maximum number of pixels of a photo.
pub(super) const MOST_PHOTO_PIXELS: u64 = 1 << 24;
/// Maximum size of a request with images in base64, in bytes: a photo and a mask.
pub(super) const MOST_BODY: usize = 48 << 20;
/// Maximum size of a request without images, in bytes.
pub(super) const MOST_SMALL_BODY: usize = 64 << 10;
