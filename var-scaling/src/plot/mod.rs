//! Plots: what is drawn ([`mod@figures`]), how axes and curves are laid out ([`mod@chart`]), and the drawing itself
//! as SVG and PNG ([`canvas`]). No font of the system is needed: the letters come with the program.

pub mod axis;
pub mod canvas;
pub mod chart;
mod drawing;
pub mod figures;
mod frame;
pub(crate) mod law_chart;
mod legend;
pub mod palette;
pub mod score_curve;

pub use figures::{Figure, draw_all, figures};
