//! The results of `cargo xtask bench`: rows, and the table and the plot that are made from them.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail};
use plotters::prelude::*;
use serde::Deserialize;

/// The result of a case, with the result of one peer if there is one.
#[derive(Clone, Debug, Deserialize)]
pub struct Row {
    pub workload: String,
    pub m: usize,
    pub n: usize,
    pub d: usize,
    pub dv: usize,
    pub k: usize,
    pub dtype: String,
    /// The median of the times; `peer_seconds` is a median, too.
    pub seconds: f64,
    pub pairs_per_s: f64,
    pub first_call_s: f64,
    pub rel_err: f64,
    pub peer: Option<String>,
    pub peer_seconds: Option<f64>,
    pub peer_first_call_s: Option<f64>,
    pub peer_rel_err: Option<f64>,
    /// The peer's time divided by this library's time.
    pub ratio: Option<f64>,
    /// The shortest time that the measured rates of the machine allow, divided by this library's time.
    pub limit_share: Option<f64>,
}

/// Reads the rows of a file.
pub fn read(file: &Path) -> Result<Vec<Row>> {
    let text = fs::read_to_string(file).with_context(|| format!("reading {}", file.display()))?;
    let rows = text.lines().map(serde_json::from_str);
    rows.collect::<Result<_, _>>()
        .with_context(|| format!("a line of {}", file.display()))
}

/// A number of seconds with its unit.
fn time(seconds: f64) -> String {
    match seconds {
        s if s < 1e-3 => format!("{:.0} µs", s * 1e6),
        s if s < 1.0 => format!("{:.3} ms", s * 1e3),
        s => format!("{s:.2} s"),
    }
}

/// Appends the line of one case, whose `rows` differ in the peer.
fn line(rows: &[&Row], text: &mut String) {
    let row = rows[0];
    let share = row
        .limit_share
        .map(|share| format!("{:.0} %", share * 100.0));
    let peers: Vec<String> = rows
        .iter()
        .filter_map(|row| {
            let (peer, ratio) = (row.peer.as_ref()?, row.ratio?);
            let (first, error) = (row.peer_first_call_s?, row.peer_rel_err?);
            let firsts = first / row.first_call_s;
            Some(format!(
                "{peer} **{ratio:.1}** (first {firsts:.1}, error {error:.0e})"
            ))
        })
        .collect();
    let _ = writeln!(
        text,
        "| {} | {} x {} | {} | {} | {} | {} | {} | {:.2} | {} | {} | {:.0e} | {} |",
        row.workload,
        row.m,
        row.n,
        row.d,
        row.dv,
        row.k,
        row.dtype,
        time(row.seconds),
        row.pairs_per_s / 1e9,
        share.unwrap_or_default(),
        time(row.first_call_s),
        row.rel_err,
        peers.join("; ")
    );
}

/// A Markdown table with a line for each case.
pub fn table(rows: &[Row]) -> String {
    let mut text = String::from(
        "| workload | M x N | D | Dv | K | type | median | G pairs/s | of the limit | first call | error | \
         times as fast as |\n|---|---|---|---|---|---|---|---|---|---|---|---|\n",
    );
    let same = |a: &&Row, b: &&Row| {
        fn key(row: &Row) -> (&str, [usize; 5]) {
            (&row.workload, [row.m, row.n, row.d, row.dv, row.k])
        }
        key(a) == key(b)
    };
    for rows in rows.iter().collect::<Vec<_>>().chunk_by(same) {
        line(rows, &mut text);
    }
    text
}

/// Plots seconds over N for the workload `columns` to an SVG file.
pub fn plot(rows: &[Row], file: &Path) -> Result<()> {
    let mut series: BTreeMap<&str, Vec<(f64, f64)>> = BTreeMap::new();
    for row in rows.iter().filter(|row| row.workload == "columns") {
        let n = row.n as f64;
        let own = series.entry("burn-lazy").or_default();
        if own.last().is_none_or(|last| last.0 != n) {
            own.push((n, row.seconds));
        }
        if let (Some(peer), Some(seconds)) = (&row.peer, row.peer_seconds) {
            series.entry(peer).or_default().push((n, seconds));
        }
    }
    let points: Vec<_> = series.values().flatten().copied().collect();
    if points.len() < 2 {
        bail!("no rows of the workload `columns` to plot");
    }
    let bounds = |of: fn(&(f64, f64)) -> f64| {
        let values = points.iter().map(of);
        let least = values.clone().fold(f64::INFINITY, f64::min);
        let most = values.fold(0.0, f64::max);
        (least * 0.8)..(most * 1.25)
    };
    let area = SVGBackend::new(file, (720, 480)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption(
            "Gaussian sum of N points in 3 dimensions, 10 000 rows, F32",
            ("sans-serif", 16),
        )
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(64)
        .build_cartesian_2d(bounds(|p| p.0).log_scale(), bounds(|p| p.1).log_scale())?;
    chart
        .configure_mesh()
        .x_desc("N")
        .y_desc("seconds")
        .draw()?;
    for (number, (name, points)) in series.into_iter().enumerate() {
        let color = Palette99::pick(number).to_rgba();
        chart
            .draw_series(LineSeries::new(points, color.stroke_width(2)).point_size(3))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .border_style(BLACK)
        .draw()?;
    area.present()?;
    Ok(())
}
