//! Losses between clouds of points.
