//! MATLAB files in the layout of the deposit.

use super::recording::{MOST_IDS, Parts};
use super::{RecordingFile, Workspace, shown, value_matrix, wrong};
use crate::Result;
use crate::mat::{Selection, Struct, Value};
use crate::source::Picks;

impl RecordingFile {
    pub(super) fn load_mat(&self, picks: &Picks) -> Result<Parts> {
        let path = &self.path;
        let parts = ["stim.resp", "stim.istim", "stim.spont", "med", "stat.redcell", "stat.redprob"];
        let neurons = &picks.columns;
        let selection = Selection::only(parts)
            .picked("stim.resp", picks.clone())
            .picked("stim.spont", Picks { rows: None, columns: neurons.clone() })
            .picked("med", Picks { rows: neurons.clone(), columns: None });
        let mut workspace = Workspace::read(path, &selection)?;
        let mut stim = match workspace.expect("stim")? {
            Value::Struct(stim) if stim.shape() == [1, 1] => stim,
            other => {
                let found = format!("is a {} {}", shown(other.shape()), other.class().name());
                return Err(wrong(
                    path,
                    "stim",
                    format!("{found}, expected a struct with `resp` and `istim`"),
                    "give a recording in the layout of the deposit",
                ));
            }
        };
        let layout = "presentations x neurons";
        let responses = value_matrix(path, "stim.resp", self.field(&mut stim, "resp")?, layout)?;
        let ids = self.field(&mut stim, "istim")?.to_f64().ok_or_else(|| {
            wrong(path, "stim.istim", "holds no numbers", "give one stimulus id per presentation")
        })?;
        let (stimulus, images) = self.counted_from_one("stim.istim", &ids)?;
        let mut parts =
            Parts { responses, stimulus, images, spontaneous: None, positions: None, red_cells: None };
        if let Some(spontaneous) = filled(stim.take("spont")) {
            let layout = "timepoints x neurons";
            parts.spontaneous = Some(value_matrix(path, "stim.spont", spontaneous, layout)?);
        }
        if let Some(positions) = filled(workspace.take("med")) {
            parts.positions = Some(value_matrix(path, "med", positions, "neurons x 3")?);
        }
        if let Some(Value::Struct(stat)) = workspace.take("stat") {
            parts.red_cells = self.red_cells(&stat)?;
        }
        if let (Some(red_cells), Some(neurons)) = (&mut parts.red_cells, neurons) {
            let picked: Option<Vec<bool>> = neurons.iter().map(|&n| red_cells.get(n).copied()).collect();
            *red_cells = picked.ok_or_else(|| {
                let problem = format!("has {} entries, and later neurons were asked for", red_cells.len());
                wrong(path, "stat", problem, "take it from the same recording")
            })?;
        }
        Ok(parts)
    }

    fn field(&self, stim: &mut Struct, name: &str) -> Result<Value> {
        stim.take(name).ok_or_else(|| {
            wrong(
                &self.path,
                &format!("stim.{name}"),
                "is not in this file",
                "give a recording in the layout of the deposit, with `stim.resp` and `stim.istim`",
            )
        })
    }

    /// Ids that count from 1, the gray screen after the last image.
    fn counted_from_one(&self, variable: &str, ids: &[f64]) -> Result<(Vec<Option<u32>>, usize)> {
        let remedy = "ids are whole numbers from 1 on, the gray screen comes after the last image";
        if let Some(id) = ids.iter().find(|id| id.fract() != 0.0 || !(1.0..=MOST_IDS).contains(*id)) {
            return Err(wrong(&self.path, variable, format!("holds the id {id}"), remedy));
        }
        let largest = ids.iter().fold(0.0, |a: f64, &b| a.max(b)) as usize;
        let images = self.images.unwrap_or(largest.saturating_sub(1));
        if largest > images + 1 {
            return Err(wrong(
                &self.path,
                variable,
                format!(
                    "holds the id {largest}, but there are {images} images and id {} is the gray screen",
                    images + 1
                ),
                "give the images that were shown in this recording",
            ));
        }
        if images == 0 {
            return Err(wrong(&self.path, variable, "shows no image, only the gray screen", remedy));
        }
        let stimulus = ids.iter().map(|&id| {
            let id = id as usize - 1;
            (id < images).then_some(id as u32)
        });
        Ok((stimulus.collect(), images))
    }

    /// Which neurons are red: `None` where the file does not say.
    fn red_cells(&self, stat: &Struct) -> Result<Option<Vec<bool>>> {
        for (field, above) in [("redcell", 0.0), ("redprob", 0.5)] {
            let Some(values) = stat.field(field) else {
                continue;
            };
            if values.iter().all(|v| v.shape().contains(&0)) {
                continue;
            }
            let red = values.iter().enumerate().map(|(neuron, value)| {
                value.scalar().map(|v| v > above).ok_or_else(|| {
                    wrong(
                        &self.path,
                        &format!("stat.{field}"),
                        format!("of neuron {} is not a number", neuron + 1),
                        "give one number for each neuron, or for none",
                    )
                })
            });
            return red.collect::<Result<_>>().map(Some);
        }
        Ok(None)
    }
}

/// A value that is not MATLAB's `[]`.
fn filled(value: Option<Value>) -> Option<Value> {
    value.filter(|v| !v.shape().contains(&0))
}
