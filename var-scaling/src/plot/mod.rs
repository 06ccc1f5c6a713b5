//! Plots: what is drawn (`mod@figures`), how axes and curves are laid out (`mod@chart`), and the drawing itself
//! as SVG and PNG (`canvas`). No font of the system is needed: the letters come with the program.

pub(crate) mod axis;
pub(crate) mod canvas;
pub(crate) mod chart;
mod drawing;
pub(crate) mod figures;
mod frame;
pub(crate) mod law_chart;
mod legend;
pub(crate) mod palette;
pub mod score_curve;

pub(crate) use figures::{Figure, draw_all, figures};
