use std::ops::Range;

use ndarray::{Array2, Axis};

use super::{NwbChoice, NwbFile, Presentations};
use crate::hdf5::Kind;
use crate::source::Picks;
use crate::{Numeric, Result};

/// Times of the spikes of all units, one unit after the other.
pub(super) const SPIKES: &str = "units/spike_times";
/// Where each unit ends among them.
const ENDS: &str = "units/spike_times_index";
/// The choice that means them.
const UNITS: &str = "units";
/// Samples that are read at once and averaged.
const SAMPLES: usize = 4096;

impl NwbFile {
    /// Paths of what can be read as responses: the series of the most processed kind, and `units`.
    ///
    /// # Errors
    /// [`Error::Malformed`](crate::Error::Malformed) where the file is damaged.
    pub fn response_sources(&self) -> Result<Vec<&str>> {
        let mut series = self.groups_of_type("RoiResponseSeries")?;
        series.retain(|group| self.hdf5().contains(&format!("{group}/data")));
        let within = |group: &str, parent: &str| group.split('/').any(|part| part == parent);
        let rank = |group: &str| match group {
            _ if within(group, "DfOverF") => 0,
            _ if within(group, "Fluorescence") => 1,
            _ => 2,
        };
        let best = series.iter().map(|group| rank(group)).min();
        series.retain(|group| Some(rank(group)) == best);
        if self.hdf5().contains(SPIKES) {
            series.push(UNITS);
        }
        Ok(series)
    }

    /// Reads the response to each of `presentations`: rows of the result are those that are picked.
    ///
    /// # Errors
    /// [`Error::Variable`](crate::Error::Variable) where there are no responses, or several kinds and
    /// no choice, or a presentation without a sample; [`Error::Malformed`](crate::Error::Malformed)
    /// where the file is damaged.
    pub(crate) fn responses(
        &self,
        choice: &NwbChoice,
        presentations: &Presentations,
        picks: &Picks,
    ) -> Result<Array2<f32>> {
        let source = match &choice.responses {
            Some(path) => path.trim_matches('/'),
            None => self.only("a RoiResponseSeries or units", "responses", &self.response_sources()?)?,
        };
        let count = presentations.stimulus.len();
        if let Some(last) = picks.rows.as_ref().and_then(|rows| rows.last()).filter(|&&last| last >= count) {
            let problem = format!("has {count} presentations, number {last} (from 0) was asked for");
            return Err(self.hdf5().variable(&presentations.origin, problem, "ask for what is in it"));
        }
        let all: Vec<usize>;
        let rows = match &picks.rows {
            Some(rows) => rows.as_slice(),
            None => {
                all = (0..count).collect();
                &all
            }
        };
        let windows: Vec<[f64; 2]> = rows
            .iter()
            .map(|&row| match choice.window {
                Some([from, to]) => [presentations.start[row] + from, presentations.start[row] + to],
                None => [presentations.start[row], presentations.stop[row]],
            })
            .collect();
        match source {
            UNITS => self.spikes(&windows, rows, picks),
            series => self.samples(series, &windows, rows, picks),
        }
    }

    /// The mean over the samples of each window.
    fn samples(
        &self,
        series: &str,
        windows: &[[f64; 2]],
        rows: &[usize],
        picks: &Picks,
    ) -> Result<Array2<f32>> {
        let file = self.hdf5();
        let dataset = file.dataset(&format!("{series}/data"))?;
        let (&[samples, _] | &[samples]) = dataset.shape() else {
            return Err(file.variable(
                dataset.path(),
                format!("has shape {:?}, expected samples x neurons", dataset.shape()),
                "give a series of two axes",
            ));
        };
        let times = self.times(series, samples)?;
        let ranges: Vec<Range<usize>> = windows
            .iter()
            .map(|&[from, to]| {
                let first = times.partition_point(|&t| t < from);
                // A window without extent is one sample.
                let end = times.partition_point(|&t| t < to).max(times.partition_point(|&t| t <= from));
                first..end
            })
            .collect();
        if let Some(at) = ranges.iter().position(Range::is_empty) {
            let [from, to] = windows[at];
            return Err(file.variable(
                dataset.path(),
                format!("has no sample for presentation {} from {from} to {to} s", rows[at]),
                "leave out presentations that were not recorded, or choose a wider `NwbChoice::window`",
            ));
        }
        let read = |rows: Vec<usize>| -> Result<Array2<f32>> {
            if let ([_], &Kind::Number(_)) = (dataset.shape(), dataset.kind()) {
                let values = file.numbers(dataset.path())?;
                return Ok(Array2::from_shape_fn((rows.len(), 1), |(row, _)| values[rows[row]] as f32));
            }
            file.matrix(&dataset, false, &Picks { rows: Some(rows), columns: picks.columns.clone() })
        };
        let each_once = ranges.iter().all(|r| r.len() == 1)
            && ranges.windows(2).all(|pair| pair[0].start < pair[1].start);
        if each_once {
            return read(ranges.iter().map(|range| range.start).collect());
        }
        let mut order: Vec<usize> = (0..ranges.len()).collect();
        order.sort_by_key(|&at| ranges[at].start);
        let mut means: Option<Array2<f32>> = None;
        let mut rest = order.as_slice();
        while let Some(&first) = rest.first() {
            let start = ranges[first].start;
            let now = rest.iter().take_while(|&&at| ranges[at].start < start + SAMPLES).count();
            let (group, later) = rest.split_at(now);
            rest = later;
            let mut wanted: Vec<usize> = group.iter().flat_map(|&at| ranges[at].clone()).collect();
            wanted.sort_unstable();
            wanted.dedup();
            let values = read(wanted.clone())?;
            let means = means.get_or_insert_with(|| Array2::zeros((ranges.len(), values.ncols())));
            for &at in group {
                let from = wanted.partition_point(|&sample| sample < ranges[at].start);
                let samples = values.slice(ndarray::s![from..from + ranges[at].len(), ..]);
                if let Some(mean) = samples.mean_axis(Axis(0)) {
                    means.row_mut(at).assign(&mean);
                }
            }
        }
        Ok(means.unwrap_or_else(|| Array2::zeros((0, 0))))
    }

    /// Spikes per second in each window.
    fn spikes(&self, windows: &[[f64; 2]], rows: &[usize], picks: &Picks) -> Result<Array2<f32>> {
        let file = self.hdf5();
        if let Some(at) =
            windows.iter().position(|[from, to]| to.partial_cmp(from).is_none_or(|order| order.is_le()))
        {
            return Err(file.variable(
                SPIKES,
                format!("cannot be counted in presentation {}, which lasts no time", rows[at]),
                "set `NwbChoice::window`",
            ));
        }
        let spikes = file.dataset(SPIKES)?;
        let total = spikes.shape().iter().product::<usize>() as f64;
        let ends = file.numbers(ENDS)?;
        let ascending = ends.windows(2).all(|pair| pair[0] <= pair[1]);
        if !ascending || ends.iter().any(|&end| !(0.0..=total).contains(&end)) {
            return Err(file.variable(
                ENDS,
                format!("does not divide the {total} spikes among {} units", ends.len()),
                "give the number of spikes up to each unit, in ascending order",
            ));
        }
        picks
            .within(usize::MAX, ends.len())
            .map_err(|what| file.variable(ENDS, what.replace("columns", "units"), "ask for what is in it"))?;
        let units: Vec<usize> = picks.columns.clone().unwrap_or_else(|| (0..ends.len()).collect());
        let mut rates = Array2::zeros((windows.len(), units.len()));
        for (column, &unit) in units.iter().enumerate() {
            let first = unit.checked_sub(1).map_or(0.0, |before| ends[before]) as usize;
            let block = std::iter::once(first..ends[unit] as usize).collect::<Vec<_>>();
            let mut times = match file.read_block(SPIKES, &block)? {
                Numeric::Float64(times) => times.into_raw_vec_and_offset().0,
                other => other.to_f64(),
            };
            times.sort_by(f64::total_cmp);
            for (row, &[from, to]) in windows.iter().enumerate() {
                let count = times.partition_point(|&t| t < to) - times.partition_point(|&t| t < from);
                rates[[row, column]] = (count as f64 / (to - from)) as f32;
            }
        }
        Ok(rates)
    }
}
