use std::collections::BTreeMap;

use super::{NwbChoice, NwbFile};
use crate::Result;
use crate::hdf5::{Hdf5Array, Kind};

/// Columns that say what was shown, the first that a table has being used.
pub const COLUMNS: [&str; 8] = [
    "stimulus_id",
    "image_id",
    "image_index",
    "stimulus_index",
    "frame",
    "image_name",
    "stimulus_name",
    "image",
];
/// Names of the gray screen, in lower case.
const GRAY: [&str; 9] =
    ["", "gray", "grey", "gray_screen", "grey_screen", "blank", "spontaneous", "none", "nan"];

/// What was shown when.
#[derive(Debug, Clone, PartialEq)]
pub struct Presentations {
    /// Path of the column or series that says so.
    pub origin: String,
    /// Start of each presentation, in seconds.
    pub start: Vec<f64>,
    /// End of each presentation, in seconds.
    pub stop: Vec<f64>,
    /// Per presentation the image, from 0 on; -1 is the gray screen.
    pub stimulus: Vec<f64>,
}

impl NwbFile {
    /// Reads the presentations.
    ///
    /// # Errors
    /// [`Error::Variable`](crate::Error::Variable) where there is no table, or several and no
    /// choice, or columns that do not fit each other; [`Error::Malformed`](crate::Error::Malformed)
    /// where the file is damaged.
    pub fn presentations(&self, choice: &NwbChoice) -> Result<Presentations> {
        let tables = self.tables(choice)?;
        let names: Vec<&str> = tables.iter().map(|(group, _)| group.as_str()).collect();
        let table = self.only("a table of presentations", "table", &names)?;
        let column = tables.iter().find(|(group, _)| group == table).map(|(_, column)| column.as_str());
        match column {
            Some(column) => self.intervals(table, column, choice),
            None => self.index_series(table),
        }
    }

    /// Groups that can be read as presentations, and their columns; of an `IndexSeries` the column
    /// is `data`.
    fn tables(&self, choice: &NwbChoice) -> Result<Vec<(String, String)>> {
        if let Some(table) = choice.table.as_deref().map(|table| table.trim_matches('/')) {
            let column = self.column(table, choice).unwrap_or_else(|| "data".to_owned());
            return Ok(vec![(table.to_owned(), column)]);
        }
        let mut found: Vec<(String, String)> = self
            .hdf5()
            .groups()
            .iter()
            .filter(|group| group.starts_with("intervals/") || group.starts_with("stimulus/presentation/"))
            .filter_map(|group| Some((group.clone(), self.column(group, choice)?)))
            .collect();
        // The table of trials is what NWB has for this.
        if let Some(trials) = found.iter().position(|(group, _)| group == "intervals/trials") {
            return Ok(vec![found.swap_remove(trials)]);
        }
        let series = self.groups_of_type("IndexSeries")?;
        found.extend(series.into_iter().map(|group| (group.to_owned(), "data".to_owned())));
        Ok(found)
    }

    /// The column of a table of intervals that says what was shown.
    fn column(&self, table: &str, choice: &NwbChoice) -> Option<String> {
        let has = |name: &str| self.hdf5().contains(&format!("{table}/{name}"));
        if !has("start_time") || !has("stop_time") {
            return None;
        }
        match &choice.column {
            Some(column) => has(column).then(|| column.clone()),
            None => COLUMNS.into_iter().find(|column| has(column)).map(str::to_owned),
        }
    }

    fn intervals(&self, table: &str, column: &str, choice: &NwbChoice) -> Result<Presentations> {
        if column == "data" {
            return self.index_series(table);
        }
        let file = self.hdf5();
        let start = file.numbers(&format!("{table}/start_time"))?;
        let stop = file.numbers(&format!("{table}/stop_time"))?;
        let origin = format!("{table}/{column}");
        let stimulus = match file.dataset(&origin)?.kind() {
            Kind::Text => self.named(&origin, choice)?,
            _ => file.numbers(&origin)?.into_iter().map(|id| if id >= 0.0 { id } else { -1.0 }).collect(),
        };
        let presentations = Presentations { origin, start, stop, stimulus };
        self.check(&presentations)?;
        Ok(presentations)
    }

    /// Numbers of images that are given by name.
    fn named(&self, column: &str, choice: &NwbChoice) -> Result<Vec<f64>> {
        let Hdf5Array::Text(names) = self.hdf5().read(column)? else {
            return Ok(Vec::new());
        };
        let gray = |name: &str| GRAY.contains(&name.to_lowercase().as_str());
        let templates = self.template_names(choice)?;
        let known = !templates.is_empty();
        let mut numbers: BTreeMap<String, f64> = if known {
            templates.into_iter().enumerate().map(|(number, name)| (name, number as f64)).collect()
        } else {
            names.iter().filter(|name| !gray(name)).map(|name| (name.clone(), 0.0)).collect()
        };
        if !known {
            numbers.values_mut().enumerate().for_each(|(at, number)| *number = at as f64);
        }
        let number = |name: &String| match numbers.get(name) {
            Some(&number) => Ok(number),
            None if gray(name) => Ok(-1.0),
            None => Err(self.hdf5().variable(
                column,
                format!("shows `{name}`, which is no template image"),
                "choose the templates that were shown with `NwbChoice::templates`",
            )),
        };
        names.iter().map(number).collect()
    }

    /// A series of images by their number: each is shown until the next.
    fn index_series(&self, series: &str) -> Result<Presentations> {
        let origin = format!("{series}/data");
        let stimulus = self.hdf5().numbers(&origin)?;
        let start = self.times(series, stimulus.len())?;
        let mut intervals: Vec<f64> = start.windows(2).map(|pair| pair[1] - pair[0]).collect();
        let mut stop: Vec<f64> = start.iter().skip(1).copied().collect();
        intervals.sort_by(f64::total_cmp);
        let usual = intervals.get(intervals.len() / 2).copied().unwrap_or(0.0);
        stop.extend(start.last().map(|last| last + usual));
        let presentations = Presentations { origin, start, stop, stimulus };
        self.check(&presentations)?;
        Ok(presentations)
    }

    /// The times of the samples of a series.
    pub(super) fn times(&self, series: &str, samples: usize) -> Result<Vec<f64>> {
        let file = self.hdf5();
        let path = format!("{series}/timestamps");
        let times = if file.contains(&path) {
            file.numbers(&path)?
        } else {
            let path = format!("{series}/starting_time");
            let start = file.numbers(&path)?.first().copied().unwrap_or(0.0);
            let rate = file.number_attribute(&path, "rate")?.filter(|rate| *rate > 0.0).ok_or_else(|| {
                file.variable(
                    &path,
                    "does not say its `rate`",
                    "give timestamps, or a starting time and a rate",
                )
            })?;
            (0..samples).map(|n| start + n as f64 / rate).collect()
        };
        let ascending = times.windows(2).all(|pair| pair[0] <= pair[1]);
        if times.len() != samples || !ascending {
            let order = if ascending { "" } else { ", and not in ascending order" };
            return Err(file.variable(
                &path,
                format!("has {} times for {samples} samples{order}", times.len()),
                "give one time per sample, in ascending order",
            ));
        }
        Ok(times)
    }

    fn check(&self, presentations: &Presentations) -> Result<()> {
        let Presentations { origin, start, stop, stimulus } = presentations;
        let count = stimulus.len();
        if start.len() != count || stop.len() != count {
            return Err(self.hdf5().variable(
                origin,
                format!("has {count} entries for {} starts and {} stops", start.len(), stop.len()),
                "give one of each per presentation",
            ));
        }
        if let Some(at) = start
            .iter()
            .zip(stop)
            .position(|(start, stop)| start.partial_cmp(stop).is_none_or(|order| order.is_gt()))
        {
            return Err(self.hdf5().variable(
                origin,
                format!("has presentation {at} from {} to {} s", start[at], stop[at]),
                "let every presentation end after it starts",
            ));
        }
        Ok(())
    }
}
