//! What a run tells its caller, and how the caller stops it.

use std::ops::ControlFlow;

use crate::error::Result;
use crate::records::{StepReport, Validation};

/// Something that a run tells.
#[derive(Debug)]
pub enum Event<'a> {
    /// All inputs are checked and the run folder is open. From here on, a stop saves a checkpoint first.
    Ready,
    /// The loop starts after `step` of `steps` steps, with `images` per step and `tokens` per image.
    Begin {
        /// Steps done.
        step: u64,
        /// Steps of the whole run.
        steps: u64,
        /// Images per step.
        images: usize,
        /// Tokens per image.
        tokens: usize,
    },
    /// A step is done.
    Step(&'a StepReport),
    /// A validation is done.
    Validation(&'a Validation),
    /// Information for a person.
    Note(&'a str),
    /// Something that a person must know: skipped files, settings without effect.
    Warning(&'a str),
}

/// Receives the events of a run. `Break` after a [`Event::Step`] saves a checkpoint and stops the run; after other events
/// it has no effect. An error ends the run at once.
pub type Watch<'a> = dyn FnMut(Event<'_>) -> Result<ControlFlow<()>> + 'a;

/// Sends an event whose answer has no effect.
pub(crate) fn tell(watch: &mut Watch<'_>, event: Event<'_>) -> Result<()> {
    watch(event).map(drop)
}

/// Sends a note.
pub(crate) fn note(watch: &mut Watch<'_>, text: &str) -> Result<()> {
    tell(watch, Event::Note(text))
}

/// Sends a warning.
pub(crate) fn warn(watch: &mut Watch<'_>, text: &str) -> Result<()> {
    tell(watch, Event::Warning(text))
}
