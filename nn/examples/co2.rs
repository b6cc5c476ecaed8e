//! Carbon dioxide at Mauna Loa: a Gaussian process of a trend, seasons and irregularities, and a forecast of 15 years
//! (Rasmussen and Williams, "Gaussian processes for machine learning", 2006, 5.4.3): `cargo run -p burn-lazy-nn
//! --example co2 -- --picture co2.svg`.
//!
//! Each check compares with values that `data/co2.py` computes with scikit-learn.

mod common;

use std::{error::Error, path::Path, process::ExitCode};

use burn::{prelude::*, tensor::FloatDType};
use burn_lazy_nn::{
    gp::{ExactGp, ExactGpConfig, LikelihoodOptions, MeanConfig},
    kernel::{
        Kernel, Periodic, PeriodicConfig, Product, RationalQuadratic, RationalQuadraticConfig, Rbf,
        RbfConfig, Scale, ScaleConfig, Sum,
    },
    lazy::LazyTensor,
};
use common::{
    Checks, Reference, data_folder, fit, host, picture_file,
    plot::{self, Drawn, PALETTE, prelude::*},
    read_rows, tracking_device,
};

/// The trend, seasons that change slowly, irregularities over years, and irregularities over months.
type Parts =
    Sum<Sum<Sum<Scale<Rbf>, Scale<Product<Rbf, Periodic>>>, Scale<RationalQuadratic>>, Scale<Rbf>>;

/// The kernel with the parameters of Rasmussen and Williams.
fn kernel(device: &Device) -> Parts {
    let rbf = |length: f64| RbfConfig::new().with_length_scale(length).init(device);
    let scale = |deviation: f64| ScaleConfig::new().with_variance(deviation * deviation);
    let year = PeriodicConfig::new().with_length_scale(1.3).init(device);
    let years = RationalQuadraticConfig::new()
        .with_length_scale(1.2)
        .with_alpha(0.78)
        .init(device);
    scale(66.0).init(rbf(67.0), device)
        + scale(2.4).init(rbf(90.0) * year, device)
        + scale(0.66).init(years, device)
        + scale(0.18).init(rbf(0.134), device)
}

/// Monthly means, from March 1958 to December 2001.
struct Series {
    years: Vec<f64>,
    values: Vec<f64>,
    mean: f64,
}

impl Series {
    fn load() -> Result<Self, Box<dyn Error>> {
        let rows = read_rows(&data_folder().join("co2.csv"))?;
        // A monthly mean stands for the middle of its month.
        let years = rows
            .iter()
            .map(|row| row[0] + (row[1] - 0.5) / 12.0)
            .collect();
        let values: Vec<f64> = rows.iter().map(|row| row[2]).collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Ok(Self {
            years,
            values,
            mean,
        })
    }

    fn last(&self) -> f64 {
        self.years.iter().copied().fold(f64::MIN, f64::max)
    }
}

/// Numbers minus `from`, as a column. Years are counted from 1980, because F32 has few digits for fractions of a year
/// near 1980.
fn column(values: &[f64], from: f64, device: &Device) -> Tensor<2> {
    let values: Vec<f64> = values.iter().map(|value| value - from).collect();
    let rows = values.len();
    Tensor::from_data(TensorData::new(values, [rows, 1]), device)
}

const FROM: f64 = 1980.0;

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let reference = Reference::load("co2.json")?;
    let list = |key: &str| reference.get::<Vec<f64>>(key);
    let mut device = tracking_device();
    // The covariance of the slow parts is nearly singular, so that F32 leaves few correct digits.
    let is_precise = device.supports_dtype(FloatDType::F64);
    if is_precise {
        device.configure(FloatDType::F64)?;
    }
    let tolerance = if is_precise { 1e-4 } else { 1e-2 };
    let series = Series::load()?;
    let x = column(&series.years, FROM, &device);
    let t = column(&series.values, series.mean, &device);
    let process = ExactGpConfig::new()
        .with_mean(MeanConfig::Zero)
        .with_noise(0.19 * 0.19)
        .init(kernel(&device), &device);

    println!("with the parameters of the book");
    let mut checks = Checks::default();
    let options = LikelihoodOptions::new();
    let likelihood = process.try_log_marginal_likelihood(x.clone(), t.clone(), &options)?;
    let value: f64 = likelihood.clone().into_scalar();
    let expected = [reference.get::<f64>("log_likelihood")?];
    checks.close("log marginal likelihood", &[value], &expected, tolerance);
    let (period, others) = split(&gradient(&process, likelihood));
    let (known_period, known) = split(&list("gradient_by_logs")?);
    checks.close(
        "gradient by the period",
        &[period],
        &[known_period],
        tolerance,
    );
    checks.close("gradient by the others", &others, &known, tolerance);
    let posterior = process.try_condition(x.clone(), t.clone())?;
    let at = column(&list("times")?, FROM, &device);
    let mean = host(posterior.try_mean(at.clone())?);
    checks.close("means of 15 years", &mean, &list("means")?, tolerance);
    let deviation = host(posterior.try_variance(at)?.sqrt());
    checks.close("deviations", &deviation, &list("deviations")?, tolerance);

    println!("after a fit");
    let process = fit(process, &x, &t, 6);
    let fitted = process.try_marginal_likelihood(x.clone(), t.clone(), &options, None)?;
    let value_after: f64 = fitted.logarithm.into_scalar();
    let limit: f64 = reference.get("fitted_log_likelihood")?;
    println!("  log likelihood {value:.2}, then {value_after:.2}, at most {limit:.2}");
    checks.check("the likelihood rises", value_after > value);

    let posterior = process.try_condition(x.clone(), t.clone())?;
    let last = series.last();
    let months: Vec<f64> = (1..=180)
        .map(|month| last + f64::from(month) / 12.0)
        .collect();
    let at = column(&months, FROM, &device);
    let mean = host(posterior.try_mean(at.clone())?);
    let deviation = host(posterior.try_variance(at)?.sqrt());

    // Each part of the kernel gives a part of the mean, with the same solution of the system.
    let parts = &process.kernel;
    let (rows, columns) = (LazyTensor::vi(x.clone()), LazyTensor::vj(x.clone()));
    let part = |k: LazyTensor| host(k.matmul(Tensor::from_inner(fitted.solution.clone())));
    let parts = [
        ("trend", part(parts.left.left.left.forward(&rows, &columns))),
        (
            "seasons",
            part(parts.left.left.right.forward(&rows, &columns)),
        ),
        (
            "irregularities of years",
            part(parts.left.right.forward(&rows, &columns)),
        ),
        (
            "irregularities of months",
            part(parts.right.forward(&rows, &columns)),
        ),
    ];
    let mut sum = vec![0.0; series.years.len()];
    for (_, values) in &parts {
        sum.iter_mut()
            .zip(values)
            .for_each(|(sum, value)| *sum += value);
    }
    let whole = host(posterior.try_mean(x)?);
    checks.close("sum of the four parts", &sum, &whole, tolerance);
    if let Some(file) = picture_file()? {
        let forecast = Forecast {
            months,
            mean,
            deviation,
        };
        draw(&file, &series, &forecast, &parts)?;
    }
    Ok(checks.exit_code())
}

/// The derivatives by the logarithms of all parameters, in the order of scikit-learn.
fn gradient(process: &ExactGp<Parts>, likelihood: Tensor<1>) -> Vec<f64> {
    let gradients = likelihood.backward();
    let kernel = &process.kernel;
    let (trend, seasons) = (&kernel.left.left.left, &kernel.left.left.right);
    let (years, months) = (&kernel.left.right, &kernel.right);
    let parameters = [
        &trend.variance,
        &trend.kernel.length_scale,
        &seasons.variance,
        &seasons.kernel.left.length_scale,
        &seasons.kernel.right.length_scale,
        &seasons.kernel.right.period,
        &years.variance,
        &years.kernel.alpha,
        &years.kernel.length_scale,
        &months.variance,
        &months.kernel.length_scale,
        &process.noise,
    ];
    let by = |own: &burn_lazy_nn::Positive| own.raw.val().grad(&gradients);
    let values = parameters.map(|own| by(own).map_or(f64::NAN, Tensor::into_scalar));
    values.to_vec()
}

/// The derivative by the period, and all other derivatives. That by the period is much larger, so it is compared apart.
fn split(gradient: &[f64]) -> (f64, Vec<f64>) {
    const PERIOD: usize = 5;
    let mut others = gradient.to_vec();
    (others.remove(PERIOD), others)
}

/// The predicted means and standard deviations of future months.
struct Forecast {
    months: Vec<f64>,
    mean: Vec<f64>,
    deviation: Vec<f64>,
}

fn draw(file: &Path, series: &Series, forecast: &Forecast, parts: &[(&str, Vec<f64>)]) -> Drawn {
    plot::picture(file, 620, |area| {
        let (above, below) = area.split_vertically(320);
        let last = series.last();
        let title = "Carbon dioxide over Mauna Loa, parts per million";
        let mut chart = plot::chart(&above, title, [1957.0..2018.0, 310.0..405.0], ["year", ""])?;
        let months = || forecast.months.iter().copied();
        let means = || forecast.mean.iter().map(|mean| mean + series.mean);
        let edge = |sign: f64| {
            let edge = means().zip(&forecast.deviation);
            let edge = edge.map(move |(mean, deviation)| mean + sign * 1.96 * deviation);
            months().zip(edge).collect::<Vec<_>>()
        };
        let band: Vec<_> = edge(1.0)
            .into_iter()
            .chain(edge(-1.0).into_iter().rev())
            .collect();
        let orange = PALETTE[1];
        chart
            .draw_series([Polygon::new(band, orange.mix(0.3))])?
            .label("95 %")
            .legend(move |(x, y)| {
                Rectangle::new([(x, y - 4), (x + 16, y + 4)], orange.mix(0.3).filled())
            });
        chart
            .draw_series(LineSeries::new(
                months().zip(means()),
                orange.stroke_width(1),
            ))?
            .label("forecast")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], orange.stroke_width(2)));
        let blue = PALETTE[0];
        let seen = series
            .years
            .iter()
            .copied()
            .zip(series.values.iter().copied());
        chart
            .draw_series(LineSeries::new(seen, blue.stroke_width(1)))?
            .label("monthly means")
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], blue.stroke_width(2)));
        plot::legend(&mut chart)?;
        for (panel, (name, values)) in below.split_evenly((2, 2)).iter().zip(parts) {
            let most = values
                .iter()
                .fold(0.0f64, |most, value| most.max(value.abs()))
                * 1.15;
            let mut chart = plot::chart(panel, name, [1957.0..last + 1.0, -most..most], ["", ""])?;
            let values = series.years.iter().copied().zip(values.iter().copied());
            chart.draw_series(LineSeries::new(values, PALETTE[2].stroke_width(1)))?;
        }
        Ok(())
    })
}
