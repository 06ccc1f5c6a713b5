//! Plots: the figures of a sweep (`mod@figures`), the layout of a chart (`mod@chart`), and drawing as SVG and PNG (`canvas`).
//! The program has its own fonts and needs none of the system.

pub(crate) mod axis;
pub(crate) mod canvas;
pub(crate) mod chart;
mod drawing;
pub(crate) mod figures;
mod forecast;
mod frame;
pub(crate) mod law_chart;
mod legend;
mod lengths;
pub(crate) mod palette;
pub mod score_curve;
mod sweep_figure;

pub(crate) use figures::{draw_all, figures};
pub(crate) use sweep_figure::SweepFigure;
