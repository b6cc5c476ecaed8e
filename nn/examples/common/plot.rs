//! Pictures in one style: a white background, letters of 12 pixels, and colours that colour-blind readers can tell
//! apart.

use std::{error::Error, fs, ops::Range, path::Path};

use plotters::{
    coord::{Shift, ranged1d::Ranged, types::RangedCoordf64},
    prelude::*,
    style::text_anchor::{HPos, Pos, VPos},
};

pub use plotters::prelude;

/// The width of a picture in pixels.
pub const WIDTH: u32 = 720;

/// Colours that colour-blind readers can tell apart (Okabe and Ito, "Color universal design", 2008): blue, vermilion,
/// green, orange, purple.
pub const PALETTE: [RGBColor; 5] = [
    RGBColor(0, 114, 178),
    RGBColor(213, 94, 0),
    RGBColor(0, 158, 115),
    RGBColor(230, 159, 0),
    RGBColor(204, 121, 167),
];

/// The largest size of the file of a picture in bytes.
const LIMIT: usize = 60_000;

/// The area that is drawn on.
pub type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A chart with linear axes.
pub type Chart<'a, 'b> =
    ChartContext<'a, SVGBackend<'b>, Cartesian2d<RangedCoordf64, RangedCoordf64>>;

/// A pair of logarithmic axes.
pub type Logarithmic = Cartesian2d<LogCoord<f64>, LogCoord<f64>>;

/// The result of drawing, which may fail.
pub type Drawn = Result<(), Box<dyn Error>>;

/// Writes the picture of the given height that `paint` draws.
pub fn picture(file: &Path, height: u32, paint: impl FnOnce(&Area<'_>) -> Drawn) -> Drawn {
    let mut svg = String::new();
    {
        let area = SVGBackend::with_string(&mut svg, (WIDTH, height)).into_drawing_area();
        area.fill(&WHITE)?;
        paint(&area)?;
        area.present()?;
    }
    let svg = compact(&svg);
    if svg.len() > LIMIT {
        return Err(format!("the picture takes {} bytes, more than {LIMIT}", svg.len()).into());
    }
    fs::write(file, svg)?;
    println!("written: {}", file.display());
    Ok(())
}

/// The style of letters, anchored at the left, in the middle or at the right.
pub fn letters(anchor: HPos) -> TextStyle<'static> {
    let anchor = Pos::new(anchor, VPos::Center);
    ("sans-serif", 12).into_text_style(&(1, 1)).pos(anchor)
}

/// Writes text at a place. The place is the left end of the text, its middle or its right end, as `anchor` says.
pub fn write(area: &Area<'_>, text: &str, at: (i32, i32), anchor: HPos) -> Drawn {
    Ok(area.draw_text(text, &letters(anchor), at)?)
}

/// A number rounded to six decimals, without trailing zeros.
fn number(value: &f64) -> String {
    format!("{}", (value * 1e6).round() / 1e6)
}

/// Draws linear axes below a title.
pub fn chart<'a, 'b>(
    area: &'a Area<'b>,
    title: &str,
    [x, y]: [Range<f64>; 2],
    [x_name, y_name]: [&str; 2],
) -> Result<Chart<'a, 'b>, Box<dyn Error>> {
    let below = if x_name.is_empty() { 24 } else { 38 };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 13))
        .margin(6)
        .margin_right(14)
        .x_label_area_size(below)
        .y_label_area_size(46)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .max_light_lines(0)
        .label_style(letters(HPos::Center))
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .x_desc(x_name)
        .y_desc(y_name)
        .draw()?;
    Ok(chart)
}

/// Draws logarithmic axes below a title. The labels of the horizontal axis are powers of 2.
pub fn logarithmic<'a, 'b>(
    area: &'a Area<'b>,
    title: &str,
    [x, y]: [[f64; 2]; 2],
    x_name: &str,
) -> Result<ChartContext<'a, SVGBackend<'b>, Logarithmic>, Box<dyn Error>> {
    let axis = |[least, most]: [f64; 2], base| (least..most).log_scale().base(base);
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 13))
        .margin(6)
        .margin_right(14)
        .x_label_area_size(38)
        .y_label_area_size(46)
        .build_cartesian_2d(axis(x, 2.0), axis(y, 10.0))?;
    chart
        .configure_mesh()
        .max_light_lines(0)
        .label_style(letters(HPos::Center))
        .x_label_formatter(&number)
        .y_label_formatter(&number)
        .x_desc(x_name)
        .draw()?;
    Ok(chart)
}

/// Draws the names of the series of a chart in its upper left corner.
pub fn legend<'a, 'b: 'a, X: Ranged, Y: Ranged>(
    chart: &mut ChartContext<'a, SVGBackend<'b>, Cartesian2d<X, Y>>,
) -> Drawn {
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.8))
        .border_style(RGBColor(190, 190, 190))
        .label_font(("sans-serif", 12))
        .draw()?;
    Ok(())
}

/// A colour from dark blue (0) through green to yellow (1). Larger numbers have brighter colours.
pub fn ramp(part: f64) -> RGBColor {
    const STOPS: [[f64; 3]; 5] = [
        [68.0, 1.0, 84.0],
        [59.0, 82.0, 139.0],
        [33.0, 145.0, 140.0],
        [94.0, 201.0, 98.0],
        [253.0, 231.0, 37.0],
    ];
    let place = part.clamp(0.0, 1.0) * (STOPS.len() - 1) as f64;
    let below = (place as usize).min(STOPS.len() - 2);
    let mix = |k: usize| {
        let rest = place - below as f64;
        (STOPS[below][k] * (1.0 - rest) + STOPS[below + 1][k] * rest).round() as u8
    };
    RGBColor(mix(0), mix(1), mix(2))
}

/// Makes the file of a picture smaller without changing the picture: circles and rectangles that look the same and
/// follow each other become one path.
fn compact(svg: &str) -> String {
    let mut out = String::with_capacity(svg.len());
    let mut open: Option<String> = None;
    for line in svg.lines() {
        let shape = shape(line);
        let look = shape.as_ref().map(|(look, _)| look);
        if open.as_ref() != look {
            if open.is_some() {
                out.push_str("\"/>\n");
            }
            if let Some(look) = look {
                out.push_str(&format!("<path {look} d=\""));
            }
            open = look.cloned();
        }
        match shape {
            Some((_, outline)) => out.push_str(&outline),
            None => {
                out.push_str(line);
                out.push('\n');
            }
        }
    }
    out
}

/// The look and the outline of a filled circle or rectangle. `None` for any other line.
fn shape(line: &str) -> Option<(String, String)> {
    let get = |name: &str| {
        let (_, rest) = line.split_once(&format!(" {name}=\""))?;
        Some(rest.split_once('"')?.0)
    };
    let fill = get("fill").filter(|fill| *fill != "none")?;
    let opacity = get("opacity")?;
    if line.starts_with("<circle") {
        // A line of length zero with round caps is a dot.
        let (x, y, radius) = (get("cx")?, get("cy")?, get("r")?.parse::<u32>().ok()?);
        let look = format!(
            r#"stroke="{fill}" stroke-width="{}" stroke-linecap="round" opacity="{opacity}""#,
            2 * radius
        );
        Some((look, format!("M{x} {y}h0")))
    } else if line.starts_with("<rect") {
        let (x, y, width, height) = (get("x")?, get("y")?, get("width")?, get("height")?);
        let look = format!(r#"fill="{fill}" opacity="{opacity}" shape-rendering="crispEdges""#);
        Some((look, format!("M{x} {y}h{width}v{height}h-{width}z")))
    } else {
        None
    }
}
