//! One shape flows into another along the gradients of five losses:
//! `cargo run -p burn-lazy-nn --example gradient_flow -- --picture flow.svg`.
//!
//! Each point moves against the gradient of the loss by the point, multiplied by the number of points. Values and
//! gradients at the start are compared with those that `data/gradient_flow.py` computes with NumPy.

mod common;

use std::{error::Error, f64::consts::PI, path::Path, process::ExitCode};

use burn::prelude::*;
use burn_lazy_nn::loss::{SamplesLoss, SamplesLossConfig};
use common::{
    Checks, Reference, host, picture_file,
    plot::{self, Area, Drawn, prelude::*, ramp},
    tensor_of, tracking_device, unit_square,
};
use plotters::style::text_anchor::HPos;

const POINTS: usize = 140;
/// The time of one step, and the numbers of steps after which the points are drawn.
const STEP: f64 = 0.05;
const DRAWN: [usize; 5] = [0, 5, 10, 20, 100];

/// The part of a ring between two radii and two angles.
struct Sector {
    centre: [f64; 2],
    radii: [f64; 2],
    angles: [f64; 2],
}

/// The shape at the start: a disc.
const START: Sector = Sector {
    centre: [0.22, 0.5],
    radii: [0.0, 0.17],
    angles: [0.0, 2.0 * PI],
};
/// The shape at the end: a part of a ring.
const END: Sector = Sector {
    centre: [0.68, 0.5],
    radii: [0.17, 0.28],
    angles: [-0.75 * PI, 0.75 * PI],
};

impl Sector {
    fn at(&self, radius: f64, angle: f64) -> [f64; 2] {
        let [x, y] = self.centre;
        [x + radius * angle.cos(), y + radius * angle.sin()]
    }

    /// The angle at the fraction `part` of the way from the first angle to the last one.
    fn angle(&self, part: f64) -> f64 {
        self.angles[0] + (self.angles[1] - self.angles[0]) * part
    }

    /// Points that fill the sector evenly.
    fn points(&self) -> Vec<[f64; 2]> {
        let [inner, outer] = self.radii.map(|radius| radius * radius);
        let place = |[u, v]: [f64; 2]| self.at((inner + (outer - inner) * u).sqrt(), self.angle(v));
        unit_square(1, POINTS).into_iter().map(place).collect()
    }

    /// The outline of the sector as a polygon.
    fn edge(&self) -> Vec<[f64; 2]> {
        let parts = || (0..=20).map(|k| f64::from(k) / 20.0);
        let outer = parts().map(|part| self.at(self.radii[1], self.angle(part)));
        let inner = parts()
            .rev()
            .map(|part| self.at(self.radii[0], self.angle(part)));
        outer.chain(inner).collect()
    }
}

/// The motion of the points along the gradients of one loss.
struct Flow {
    /// The loss before each step, and after the last one.
    losses: Vec<f64>,
    /// The gradient at the start.
    gradient: Vec<f64>,
    /// The positions of the points after each number of steps in [`DRAWN`].
    places: Vec<Vec<f64>>,
}

impl Flow {
    fn new(loss: &SamplesLoss, start: Tensor<2>, end: &Tensor<2>) -> Result<Self, Box<dyn Error>> {
        let (mut losses, mut gradients, mut places) = (vec![], vec![], vec![]);
        let mut x = start;
        for step in 0..=DRAWN[4] {
            x = x.detach().require_grad();
            let value = loss.try_forward(x.clone(), end.clone())?;
            let gradient = x.grad(&value.backward()).ok_or("the points are tracked")?;
            losses.push(value.into_scalar());
            if step == 0 {
                gradients = host(gradient.clone());
            }
            if DRAWN.contains(&step) {
                places.push(host(x.clone()));
            }
            // A point has the weight 1 / N in the loss, so its gradient has a factor 1 / N.
            x = x - Tensor::from_inner(gradient) * (STEP * POINTS as f64);
        }
        Ok(Self {
            losses,
            gradient: gradients,
            places,
        })
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let reference = Reference::load("gradient_flow.json")?;
    let device = tracking_device();
    let (start, end) = (START.points(), END.points());
    let (x, y) = (tensor_of(&start, &device), tensor_of(&end, &device));
    let sinkhorn = |p| {
        SamplesLossConfig::sinkhorn()
            .with_p(p)
            .with_blur(0.05)
            .init()
    };
    let losses = [
        (
            "gaussian",
            "Gaussian MMD",
            SamplesLossConfig::gaussian(0.3).init(),
        ),
        (
            "energy",
            "energy distance",
            SamplesLossConfig::energy().init(),
        ),
        (
            "hausdorff",
            "Hausdorff",
            SamplesLossConfig::hausdorff(1.0, 0.1).init(),
        ),
        ("sinkhorn_1", "Sinkhorn, p = 1", sinkhorn(1.0)),
        ("sinkhorn_2", "Sinkhorn, p = 2", sinkhorn(2.0)),
    ];

    let mut checks = Checks::default();
    let mut flows = vec![];
    for (key, name, loss) in losses {
        let flow = Flow::new(&loss, x.clone(), &y)?;
        let at = |step: usize| flow.losses[step];
        println!("{name}: loss {:.4?}", DRAWN.map(at));
        let expected: Expected = reference.get(key)?;
        checks.close("value at the start", &[at(0)], &[expected.value], 1e-3);
        if let Some(gradient) = &expected.gradient {
            let known = &flow.gradient[..gradient.len()];
            checks.close("gradient at the start", known, gradient, 1e-3);
        }
        let falls = DRAWN.windows(2).all(|steps| at(steps[1]) < at(steps[0]));
        checks.check("the loss falls", falls && at(DRAWN[4]) < 0.1 * at(0));
        flows.push((name, flow));
    }
    if let Some(file) = picture_file()? {
        draw(&file, &start, &flows)?;
    }
    Ok(checks.exit_code())
}

/// Reference values that NumPy has computed.
#[derive(serde::Deserialize)]
struct Expected {
    value: f64,
    /// The gradient of the first points.
    gradient: Option<Vec<f64>>,
}

/// Draws a row for each loss and a column for each time.
fn draw(file: &Path, start: &[[f64; 2]], flows: &[(&str, Flow)]) -> Drawn {
    const SIDE: i32 = 118;
    const LEFT: i32 = 118;
    const TOP: i32 = 26;
    let height = TOP + SIDE * flows.len() as i32 + 6;
    plot::picture(file, height as u32, |area| {
        for (column, step) in (0..).zip(DRAWN) {
            let text = format!("t = {}", step as f64 * STEP);
            let middle = LEFT + SIDE * column + SIDE / 2;
            plot::write(area, &text, (middle, TOP / 2), HPos::Center)?;
        }
        for (row, (name, flow)) in (0..).zip(flows) {
            let top = TOP + SIDE * row;
            plot::write(area, name, (8, top + SIDE / 2), HPos::Left)?;
            for (column, places) in (0..).zip(&flow.places) {
                let corner = (LEFT + SIDE * column, top);
                let panel = area.clone().shrink(corner, (SIDE - 4, SIDE - 4));
                draw_points(&panel, start, places)?;
            }
        }
        Ok(())
    })
}

/// Draws the points over the shape to which they flow. Colours show how high the points started.
fn draw_points(panel: &Area<'_>, start: &[[f64; 2]], places: &[f64]) -> Drawn {
    const BANDS: usize = 5;
    let (width, height) = panel.dim_in_pixel();
    let pixel = |x: f64, y: f64| {
        let across = (x * f64::from(width)).round() as i32;
        (across, ((1.0 - y) * f64::from(height)).round() as i32)
    };
    let frame = [(0, 0), (width as i32 - 1, height as i32 - 1)];
    panel.draw(&Rectangle::new(frame, RGBColor(190, 190, 190)))?;
    let edge: Vec<_> = END.edge().iter().map(|[x, y]| pixel(*x, *y)).collect();
    panel.draw(&Polygon::new(edge, RGBColor(224, 224, 224)))?;
    let band = |y: f64| {
        let part = (y - START.centre[1]) / START.radii[1] * 0.5 + 0.5;
        ((part * BANDS as f64) as usize).min(BANDS - 1)
    };
    // Points that have left the frame are not drawn.
    let is_inside = |at: &[f64]| at.iter().all(|part| (0.02..0.98).contains(part));
    for own in 0..BANDS {
        let colour = ramp(own as f64 / (BANDS - 1) as f64 * 0.9);
        let pairs = start.iter().zip(places.chunks(2));
        for (_, at) in pairs.filter(|([_, y], at)| band(*y) == own && is_inside(at)) {
            panel.draw(&Circle::new(pixel(at[0], at[1]), 2, colour.filled()))?;
        }
    }
    Ok(())
}
