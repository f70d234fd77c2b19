//! What is measured: a point on an axis, everything else being the same.

use std::time::Duration;

use clap::ValueEnum;
use serde::Serialize;

use crate::wide::Shape;

/// What changes along a curve.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Axis {
    /// Bytes of a record.
    Size,
    /// Columns, with 20 bytes of record for each.
    Columns,
    /// Partitions of the topic.
    Partitions,
    /// `max_age` of the window.
    Window,
    /// `max_age` of the window, with 1,000 partitions.
    ManyWindow,
    /// Compression of the Parquet files.
    Codec,
    /// Cores that the daemon may use.
    Cores,
    /// Jobs in one daemon, each of which reads its part of the same amount.
    Jobs,
}

/// The order along an axis, by which a cost may grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Growth {
    /// CPU of a record.
    OfRecord,
    /// CPU of a byte.
    OfByte,
    /// CPU of a byte, along the reciprocal: the number of windows.
    OfByteInverse,
    /// There is no order.
    None,
}

impl Axis {
    /// All, in the order they are run and shown.
    pub const ALL: [Self; 8] = [
        Self::Size,
        Self::Columns,
        Self::Partitions,
        Self::Window,
        Self::ManyWindow,
        Self::Codec,
        Self::Cores,
        Self::Jobs,
    ];

    /// What stands above its table.
    #[must_use]
    pub fn title(self) -> &'static str {
        match self {
            Self::Size => "record size, bytes (5 columns)",
            Self::Columns => "columns (20 bytes of record each)",
            Self::Partitions => "partitions",
            Self::Window => "window (max_age)",
            Self::ManyWindow => "window (max_age), 1000 partitions",
            Self::Codec => "Parquet compression",
            Self::Cores => "cores",
            Self::Jobs => "jobs in one daemon",
        }
    }

    /// What is compared along it.
    #[must_use]
    pub fn growth(self) -> Growth {
        match self {
            Self::Size | Self::Columns => Growth::OfRecord,
            Self::Partitions | Self::Cores | Self::Jobs => Growth::OfByte,
            Self::Window | Self::ManyWindow => Growth::OfByteInverse,
            Self::Codec => Growth::None,
        }
    }

    /// Its points, each with `bytes` of input (over all jobs), on a machine of `cores`.
    #[must_use]
    pub fn points(self, bytes: u64, cores: usize) -> Vec<Point> {
        let base = || Base::new(bytes);
        let windows = [("10ms", 10), ("100ms", 100), ("1s", 1000), ("10s", 10_000), ("10min", 600_000)];
        match self {
            Self::Size => [100, 300, 1000, 10_000, 100_000]
                .map(|size| base().shape(5, size).point(self, size as f64, size.to_string()))
                .into(),
            Self::Columns => [5, 20, 100, 500]
                .map(|columns| base().shape(columns, 20 * columns).point(self, columns as f64, columns.to_string()))
                .into(),
            Self::Partitions => [1, 6, 100, 1000]
                .map(|partitions| {
                    let point = base().point(self, f64::from(partitions), partitions.to_string());
                    Point { topic: Topic { partitions, ..point.topic }, ..point }
                })
                .into(),
            Self::Window => windows.map(|(label, ms)| base().window(ms).point(self, ms as f64, label.into())).into(),
            Self::ManyWindow => windows[..3]
                .iter()
                .map(|(label, ms)| {
                    let point = base().window(*ms).point(self, *ms as f64, (*label).into());
                    Point { topic: Topic { partitions: 1000, ..point.topic }, ..point }
                })
                .collect(),
            Self::Codec => ["none", "snappy", "lz4", "zstd"]
                .into_iter()
                .enumerate()
                .map(|(i, codec)| Point { codec, ..base().point(self, i as f64, codec.into()) })
                .collect(),
            Self::Cores => std::iter::successors(Some(1), |n| Some(n * 2))
                .take_while(|n| *n <= cores)
                .map(|n| Point { cores: Some(n), ..base().point(self, n as f64, n.to_string()) })
                .collect(),
            Self::Jobs => [1, 10, 100].map(|jobs| base().jobs(jobs).point(self, jobs as f64, jobs.to_string())).into(),
        }
    }
}

/// A topic that points read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Topic {
    /// Partitions.
    pub partitions: i32,
    /// What its records look like.
    pub shape: Shape,
    /// How many there are.
    pub records: u64,
}

/// One point.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Point {
    /// Its curve.
    pub axis: Axis,
    /// Where it is on the axis.
    pub x: f64,
    /// The same as a text.
    pub label: String,
    /// What is read, by each of the jobs.
    pub topic: Topic,
    /// `max_age` of the window; its other bounds are out of reach.
    pub max_age: Duration,
    /// Compression of the Parquet files.
    pub codec: &'static str,
    /// Cores that the daemon may use; `None`: all.
    pub cores: Option<usize>,
    /// Jobs that read the topic, each for itself.
    pub jobs: usize,
    /// `memory` of the daemon, MiB.
    pub memory_mib: u64,
}

impl Point {
    /// A job that has little to read and shows it at once: the smallest of the windows.
    #[must_use]
    pub fn little() -> Self {
        Base::new(3_000_000).window(10).point(Axis::Window, 10.0, "10ms".into())
    }
}

/// What all points have unless their axis says otherwise: 300 bytes, 10 columns, 6 partitions, windows of a second,
/// snappy, all cores, one job, 128 MiB.
struct Base {
    bytes: u64,
    shape: Shape,
    max_age: Duration,
    jobs: usize,
}

impl Base {
    fn new(bytes: u64) -> Self {
        Self { bytes, shape: Shape { columns: 10, bytes: 300 }, max_age: Duration::from_secs(1), jobs: 1 }
    }

    fn shape(self, columns: usize, bytes: usize) -> Self {
        Self { shape: Shape { columns, bytes }, ..self }
    }

    fn window(self, ms: u64) -> Self {
        Self { max_age: Duration::from_millis(ms), ..self }
    }

    fn jobs(self, jobs: usize) -> Self {
        Self { jobs, ..self }
    }

    fn point(self, axis: Axis, x: f64, label: String) -> Point {
        let records = self.bytes / self.shape.bytes as u64 / self.jobs as u64;
        Point {
            axis,
            x,
            label,
            topic: Topic { partitions: 6, shape: self.shape, records: records.max(1) },
            max_age: self.max_age,
            codec: "snappy",
            cores: None,
            jobs: self.jobs,
            // 8 MiB is the least that a job gets, and an eighth is kept for jobs that a reload adds.
            memory_mib: 128.max(10 * self.jobs as u64),
        }
    }
}

/// Points by the topic they read, so that each is filled once and is gone when its points are done. Topics of many
/// partitions come last: a broker is busy for a while after they are deleted.
#[must_use]
pub fn by_topic(points: Vec<Point>) -> Vec<(Topic, Vec<Point>)> {
    let mut groups: Vec<(Topic, Vec<Point>)> = Vec::new();
    for point in points {
        match groups.iter_mut().find(|(topic, _)| *topic == point.topic) {
            Some((_, points)) => points.push(point),
            None => groups.push((point.topic, vec![point])),
        }
    }
    groups.sort_by_key(|(topic, _)| topic.partitions);
    groups
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wide::Wide;

    const BYTES: u64 = 256_000_000;

    #[test]
    fn every_point_reads_the_same_amount_in_order_of_its_axis() {
        for axis in Axis::ALL {
            let points = axis.points(BYTES, 4);
            assert!(points.len() >= 3, "{axis:?}");
            assert!(points.is_sorted_by(|a, b| a.x < b.x), "{axis:?}");
            for point in points {
                let read = point.topic.records * point.topic.shape.bytes as u64 * point.jobs as u64;
                assert!((read as f64 / BYTES as f64 - 1.0).abs() < 0.01, "{point:?}");
                Wide::new(point.topic.shape).expect("records that can be made");
            }
        }
        assert_eq!(Axis::Cores.points(BYTES, 2).iter().map(|p| p.cores).collect::<Vec<_>>(), [Some(1), Some(2)]);
        assert!(Axis::Size.points(1, 2).iter().all(|p| p.topic.records == 1), "never none");
    }

    #[test]
    fn a_topic_is_filled_once_for_all_its_points() {
        let points: Vec<Point> = Axis::ALL.into_iter().flat_map(|axis| axis.points(BYTES, 2)).collect();
        let (all, groups) = (points.len(), by_topic(points));
        assert_eq!(groups.iter().map(|(_, points)| points.len()).sum::<usize>(), all);
        assert!(groups.is_sorted_by_key(|(topic, _)| topic.partitions));
        let base = Axis::Window.points(BYTES, 2)[0].topic;
        let (_, shared) = groups.iter().find(|(topic, _)| *topic == base).expect("it is there");
        // 6 partitions, all windows, codecs, cores, and one job.
        assert_eq!(shared.len(), 1 + 5 + 4 + 2 + 1);
    }
}
