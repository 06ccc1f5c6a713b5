//! Drawing with plotters as SVG and PNG, with the fonts of the program.

use std::path::Path;
use std::sync::OnceLock;

use plotters::backend::{BitMapBackend, SVGBackend};
use plotters::coord::Shift;
use plotters::drawing::{DrawingArea, IntoDrawingArea};
use plotters::element::{Circle, PathElement, Polygon, Text};
use plotters::prelude::{Color, DrawingBackend, RGBColor};
use plotters::style::text_anchor::{HPos, Pos, VPos};
use plotters::style::{
    FontFamily, FontStyle, FontTransform, IntoFont, ShapeStyle, TextStyle, WHITE, register_font,
};

use crate::error::{Error, Result};
use var_tokenizer::files::write_atomically;

/// Regular font of plots and report.
pub(crate) const FONT_REGULAR: &[u8] = include_bytes!("../../assets/Inter-Regular.subset.ttf");
/// Font of the headings in plots and report.
pub(crate) const FONT_BOLD: &[u8] = include_bytes!("../../assets/Inter-SemiBold.subset.ttf");

/// The point of a text that is at its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Anchor {
    /// Middle of the left side.
    Left,
    /// Middle of the right side.
    Right,
    /// Middle of the top side.
    Top,
    /// Middle of the left side; the text is rotated to read upwards.
    Upwards,
}

/// One element of a drawing. Coordinates are pixels from the top left.
#[derive(Debug, Clone, PartialEq)]
pub enum DrawingItem {
    /// A line through points.
    Line {
        /// Corners.
        points: Vec<(f64, f64)>,
        /// Colour.
        color: RGBColor,
        /// Width in pixels.
        width: u32,
        /// Opacity from 0 to 1.
        opacity: f64,
        /// Length of a dash; 0: a solid line.
        dash: f64,
    },
    /// A filled dot with a thin white rim.
    Dot {
        /// Centre.
        at: (f64, f64),
        /// Radius in pixels.
        radius: f64,
        /// Colour.
        color: RGBColor,
    },
    /// A filled area.
    Area {
        /// Corners.
        points: Vec<(f64, f64)>,
        /// Colour.
        color: RGBColor,
        /// Opacity from 0 to 1.
        opacity: f64,
    },
    /// A line of text.
    Label {
        /// Place of the anchor.
        at: (f64, f64),
        /// The text.
        text: String,
        /// Size of the font in pixels.
        size: f64,
        /// Colour.
        color: RGBColor,
        /// The point of the text at the place.
        anchor: Anchor,
        /// Semi-bold.
        bold: bool,
    },
}

/// A finished drawing of `size` pixels.
#[derive(Debug, Clone, PartialEq)]
pub struct Drawing {
    /// Width and height in pixels.
    pub size: (u32, u32),
    /// The elements, in order.
    pub items: Vec<DrawingItem>,
}

fn fonts() -> bool {
    static REGISTERED: OnceLock<bool> = OnceLock::new();
    *REGISTERED.get_or_init(|| {
        register_font("sans-serif", FontStyle::Normal, FONT_REGULAR).is_ok()
            && register_font("sans-serif", FontStyle::Bold, FONT_BOLD).is_ok()
    })
}

/// Width of a text in pixels.
pub(crate) fn text_width(text: &str, size: f64, bold: bool) -> f64 {
    let style = if bold { FontStyle::Bold } else { FontStyle::Normal };
    let font = ("sans-serif", size, style).into_font();
    match fonts().then(|| font.box_size(text)) {
        Some(Ok((width, _))) => f64::from(width),
        _ => text.chars().count() as f64 * size * 0.55,
    }
}

impl Drawing {
    /// The drawing as SVG.
    ///
    /// # Errors
    /// When the drawing library fails.
    pub(crate) fn svg(&self) -> std::result::Result<String, String> {
        let mut text = String::new();
        self.render(SVGBackend::with_string(&mut text, self.size).into_drawing_area(), 0.0)?;
        Ok(text)
    }

    /// The drawing as PNG.
    ///
    /// # Errors
    /// When the drawing library or the encoder fails.
    pub(crate) fn png(&self) -> std::result::Result<Vec<u8>, String> {
        let (width, height) = self.size;
        let mut pixels = vec![255; (width * height * 3) as usize];
        // In the PNG, letters are a little too high.
        self.render(BitMapBackend::with_buffer(&mut pixels, self.size).into_drawing_area(), 0.14)?;
        let image = image::RgbImage::from_raw(width, height, pixels).ok_or("the image has no size")?;
        let mut bytes = std::io::Cursor::new(Vec::new());
        image.write_to(&mut bytes, image::ImageFormat::Png).map_err(|e| e.to_string())?;
        Ok(bytes.into_inner())
    }

    /// Writes `<stem>.svg` and `<stem>.png` into `folder`.
    ///
    /// # Errors
    /// When drawing fails or a file cannot be written.
    pub fn write(&self, folder: &Path, stem: &str) -> Result<()> {
        self.write_file(&folder.join(format!("{stem}.svg")))?;
        self.write_file(&folder.join(format!("{stem}.png")))
    }

    /// Writes one image: PNG if `path` ends in `.png`, else SVG.
    ///
    /// # Errors
    /// When the drawing fails or the file cannot be written.
    pub(crate) fn write_file(&self, path: &Path) -> Result<()> {
        let png = path.extension().is_some_and(|ending| ending == "png");
        let bytes = if png { self.png() } else { self.svg().map(String::into_bytes) };
        let bytes = bytes.map_err(|message| Error::Plot { path: path.to_owned(), message })?;
        Ok(write_atomically(path, &bytes)?)
    }

    fn render<B: DrawingBackend>(
        &self,
        area: DrawingArea<B, Shift>,
        drop: f64,
    ) -> std::result::Result<(), String> {
        if !fonts() {
            return Err("the built-in font cannot be read".into());
        }
        area.fill(&WHITE).map_err(|e| e.to_string())?;
        for item in &self.items {
            draw(&area, item, drop)?;
        }
        area.present().map_err(|e| e.to_string())
    }
}

fn pixel(point: (f64, f64)) -> (i32, i32) {
    (point.0.round() as i32, point.1.round() as i32)
}

/// Draws one element. Vertically centred text moves down by `drop` times its size.
fn draw<B: DrawingBackend>(
    area: &DrawingArea<B, Shift>,
    item: &DrawingItem,
    drop: f64,
) -> std::result::Result<(), String> {
    match item {
        DrawingItem::Line { points, color, width, opacity, dash } => {
            let style = ShapeStyle { color: color.mix(*opacity), filled: false, stroke_width: *width };
            for piece in dashes(points, *dash) {
                let path: Vec<(i32, i32)> = piece.into_iter().map(pixel).collect();
                area.draw(&PathElement::new(path, style)).map_err(|e| e.to_string())?;
            }
            Ok(())
        }
        DrawingItem::Dot { at, radius, color } => {
            let rim = Circle::new(pixel(*at), (radius + 2.0) as i32, WHITE.filled());
            let dot = Circle::new(pixel(*at), *radius as i32, color.filled());
            area.draw(&rim).and_then(|()| area.draw(&dot)).map_err(|e| e.to_string())
        }
        DrawingItem::Area { points, color, opacity } => {
            let path: Vec<(i32, i32)> = points.iter().copied().map(pixel).collect();
            area.draw(&Polygon::new(path, color.mix(*opacity).filled())).map_err(|e| e.to_string())
        }
        DrawingItem::Label { at, text, size, color, anchor, bold } => {
            let style = if *bold { FontStyle::Bold } else { FontStyle::Normal };
            let mut font = (FontFamily::SansSerif, *size, style).into_font();
            if *anchor == Anchor::Upwards {
                font = font.transform(FontTransform::Rotate270);
            }
            let pos = match anchor {
                Anchor::Left => Pos::new(HPos::Left, VPos::Center),
                Anchor::Right => Pos::new(HPos::Right, VPos::Center),
                Anchor::Top => Pos::new(HPos::Center, VPos::Top),
                Anchor::Upwards => Pos::new(HPos::Center, VPos::Center),
            };
            let style = TextStyle::from(font).color(color).pos(pos);
            let at = match anchor {
                Anchor::Left | Anchor::Right => (at.0, at.1 + drop * size),
                Anchor::Top | Anchor::Upwards => *at,
            };
            area.draw(&Text::new(text.clone(), pixel(at), style)).map_err(|e| e.to_string())
        }
    }
}

/// Cuts a line into dashes of this length, with gaps of two thirds of it.
fn dashes(points: &[(f64, f64)], dash: f64) -> Vec<Vec<(f64, f64)>> {
    if dash <= 0.0 {
        return vec![points.to_vec()];
    }
    let mut pieces: Vec<Vec<(f64, f64)>> = vec![Vec::new()];
    let (mut on, mut left) = (true, dash);
    for pair in points.windows(2) {
        let [a, b] = pair else { continue };
        let length = (b.0 - a.0).hypot(b.1 - a.1);
        let mut done = 0.0;
        while done < length {
            let go = left.min(length - done);
            let at = |d: f64| (a.0 + (b.0 - a.0) * d / length, a.1 + (b.1 - a.1) * d / length);
            if on && let Some(piece) = pieces.last_mut() {
                if piece.is_empty() {
                    piece.push(at(done));
                }
                piece.push(at(done + go));
            }
            done += go;
            left -= go;
            if left <= 1e-9 {
                on = !on;
                left = if on { dash } else { dash * 2.0 / 3.0 };
                if on {
                    pieces.push(Vec::new());
                }
            }
        }
    }
    pieces.retain(|p| p.len() > 1);
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plot::palette;

    fn drawing() -> Drawing {
        Drawing {
            size: (200, 120),
            items: vec![
                DrawingItem::Label {
                    at: (20.0, 20.0),
                    text: "α = −0.2 × 10⁵ ∞".into(),
                    size: 20.0,
                    color: palette::INK,
                    anchor: Anchor::Left,
                    bold: false,
                },
                DrawingItem::Dot { at: (100.0, 60.0), radius: 5.0, color: palette::INK },
                DrawingItem::Line {
                    points: vec![(0.0, 100.0), (200.0, 100.0)],
                    color: palette::INK,
                    width: 2,
                    opacity: 1.0,
                    dash: 12.0,
                },
            ],
        }
    }

    #[test]
    fn svg_and_png_are_made_without_any_font_of_the_system() {
        let svg = drawing().svg().unwrap();
        assert!(svg.contains("<svg") && svg.contains("α = −0.2 × 10⁵ ∞"));
        let png = image::load_from_memory(&drawing().png().unwrap()).unwrap().to_rgb8();
        assert_eq!(png.dimensions(), (200, 120));
        let dark = png.pixels().filter(|p| p.0[0] < 128).count();
        assert!(dark > 300, "letters, dot and line leave ink: {dark}");
    }

    #[test]
    fn every_letter_of_a_label_is_drawn() {
        let of = |text: &str| {
            let item = DrawingItem::Label {
                at: (4.0, 24.0),
                text: text.into(),
                size: 30.0,
                color: palette::INK,
                anchor: Anchor::Left,
                bold: false,
            };
            Drawing { size: (60, 48), items: vec![item] }.png().unwrap()
        };
        // The font draws unknown letters as a box. No letter may equal it.
        let missing = of("\u{e000}");
        for letter in
            "éèàçñøåüößÄÖÜẞłżščřőğışțđžþæœαβγδεζηθλμνξπρστφχψωΓΔΘΛΣΦΨΩЖяий€–—…×·±≤≥≈≠∞√∑∂−⁻⁰⁹₀₉←→′".chars()
        {
            let drawn = of(&letter.to_string());
            assert!(drawn != missing && drawn != of(" "), "{letter}");
        }
    }

    #[test]
    fn dashes_cover_three_fifths_of_a_line() {
        let pieces = dashes(&[(0.0, 0.0), (60.0, 0.0), (100.0, 0.0)], 12.0);
        let covered: f64 = pieces.iter().map(|p| p.last().unwrap().0 - p[0].0).sum();
        assert!((covered - 60.0).abs() < 1e-6, "{covered}");
    }
}
