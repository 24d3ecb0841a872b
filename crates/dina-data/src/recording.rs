use ndarray::parallel::prelude::*;
use ndarray::{Array2, Array3, ArrayView2, Axis};

use crate::{Error, Result};

/// Responses of a population to images shown one at a time.
///
/// Only [`Recording::new`] makes one, and it refuses what later steps could not use: ids that no
/// image has, neurons that are not finite or never change.
#[derive(Debug, Clone, PartialEq)]
pub struct Recording {
    origin: String,
    responses: Array2<f32>,
    stimulus: Vec<Option<u32>>,
    images: usize,
    spontaneous: Option<Array2<f32>>,
    positions: Option<Array2<f32>>,
    red_cells: Option<Vec<bool>>,
}

impl Recording {
    /// Checks and keeps a recording.
    ///
    /// - `origin`: file or population, for messages.
    /// - `responses`: presentations x neurons, in the order shown.
    /// - `stimulus`: per presentation the image shown, counted from 0; `None` is the gray screen.
    /// - `images`: number of images in the stimulus set; every id is below it.
    ///
    /// # Errors
    /// [`Error::Variable`] when lengths disagree, there is no presentation or neuron, an id is not
    /// below `images`, or a neuron holds a value that is not finite or the same value throughout.
    pub fn new(
        origin: impl Into<String>,
        responses: Array2<f32>,
        stimulus: Vec<Option<u32>>,
        images: usize,
    ) -> Result<Self> {
        let recording = Self {
            origin: origin.into(),
            responses,
            stimulus,
            images,
            spontaneous: None,
            positions: None,
            red_cells: None,
        };
        recording.check()?;
        Ok(recording)
    }

    fn check(&self) -> Result<()> {
        let (presentations, neurons) = self.responses.dim();
        let fail = |variable: &str, problem: String, remedy: &str| {
            Err(Error::variable(&self.origin, variable, problem, remedy))
        };
        if presentations == 0 || neurons == 0 {
            return fail(
                "stim.resp",
                format!("is {presentations} x {neurons}, expected presentations x neurons"),
                "check that the recording was exported whole",
            );
        }
        if self.stimulus.len() != presentations {
            return fail(
                "stim.istim",
                format!(
                    "has {} entries for {presentations} presentations in `stim.resp`",
                    self.stimulus.len()
                ),
                "give one stimulus id per presentation",
            );
        }
        if let Some(id) = self.stimulus.iter().flatten().find(|&&id| id as usize >= self.images) {
            return fail(
                "stim.istim",
                format!("holds id {}, but there are {} images", id + 1, self.images),
                "give the image file that was shown in this recording",
            );
        }
        let unusable = self.unusable_neurons();
        if let Some(&first) = unusable.first() {
            let column = self.responses.column(first);
            let why = match column.iter().position(|value| !value.is_finite()) {
                Some(row) => format!(", whose row {} is {}", row + 1, column[row]),
                None => format!(", which is {} throughout", column[0]),
            };
            return fail(
                "stim.resp",
                format!(
                    "holds {} of {neurons} neurons with values that are not finite or never change \
                     (the first is column {}{why})",
                    unusable.len(),
                    first + 1
                ),
                "remove these neurons from the file before reading it",
            );
        }
        Ok(())
    }

    /// Refuses the first value that is NaN or infinite, naming its place.
    fn expect_finite(&self, variable: &str, values: &Array2<f32>, remedy: &str) -> Result<()> {
        match values.indexed_iter().find(|(_, value)| !value.is_finite()) {
            None => Ok(()),
            Some(((row, column), value)) => Err(Error::variable(
                &self.origin,
                variable,
                format!("is {value} in row {}, column {}; every value has to be finite", row + 1, column + 1),
                remedy,
            )),
        }
    }

    /// Columns that are not finite or constant.
    fn unusable_neurons(&self) -> Vec<usize> {
        let ranges = self
            .responses
            .axis_chunks_iter(Axis(0), ROWS_AT_ONCE)
            .into_par_iter()
            .map(|rows| Ranges::of(rows, self.neurons()))
            .reduce(|| Ranges::new(self.neurons()), Ranges::merge);
        (0..self.neurons()).filter(|&n| !ranges.finite[n] || ranges.low[n] == ranges.high[n]).collect()
    }

    /// Adds spontaneous activity, timepoints x neurons.
    ///
    /// # Errors
    /// When the number of neurons differs or a value is not finite.
    pub fn with_spontaneous(mut self, spontaneous: Array2<f32>) -> Result<Self> {
        self.expect_neurons("stim.spont", spontaneous.ncols())?;
        self.expect_finite(
            "stim.spont",
            &spontaneous,
            "remove these timepoints from the file before reading it",
        )?;
        self.spontaneous = Some(spontaneous);
        Ok(self)
    }

    /// Adds positions, neurons x 3, in micrometres.
    ///
    /// # Errors
    /// When the shape differs or a value is not finite.
    pub fn with_positions(mut self, positions: Array2<f32>) -> Result<Self> {
        self.expect_neurons("med", positions.nrows())?;
        if positions.ncols() != 3 {
            return Err(Error::variable(
                &self.origin,
                "med",
                format!("has {} columns, expected 3 coordinates", positions.ncols()),
                "give neurons x 3",
            ));
        }
        self.expect_finite("med", &positions, "repair these positions, or leave `med` out of the file")?;
        self.positions = Some(positions);
        Ok(self)
    }

    /// Adds which neurons carry the red (interneuron) label.
    ///
    /// # Errors
    /// When the number of neurons differs.
    pub fn with_red_cells(mut self, red_cells: Vec<bool>) -> Result<Self> {
        self.expect_neurons("stat.redcell", red_cells.len())?;
        self.red_cells = Some(red_cells);
        Ok(self)
    }

    fn expect_neurons(&self, variable: &str, found: usize) -> Result<()> {
        if found == self.neurons() {
            return Ok(());
        }
        Err(Error::variable(
            &self.origin,
            variable,
            format!("has {found} neurons, `stim.resp` has {}", self.neurons()),
            "take both from the same recording",
        ))
    }

    /// File or population, for messages.
    pub fn origin(&self) -> &str {
        &self.origin
    }

    /// Responses, presentations x neurons, in the order shown.
    pub fn responses(&self) -> &Array2<f32> {
        &self.responses
    }

    /// Per presentation the image shown, counted from 0; `None` is the gray screen.
    pub fn stimulus(&self) -> &[Option<u32>] {
        &self.stimulus
    }

    /// Number of presentations, gray screens included.
    pub fn presentations(&self) -> usize {
        self.responses.nrows()
    }

    /// Number of neurons.
    pub fn neurons(&self) -> usize {
        self.responses.ncols()
    }

    /// Number of images in the stimulus set, shown or not.
    pub fn images(&self) -> usize {
        self.images
    }

    /// Spontaneous activity, timepoints x neurons.
    pub fn spontaneous(&self) -> Option<&Array2<f32>> {
        self.spontaneous.as_ref()
    }

    /// Positions, neurons x 3, in micrometres.
    pub fn positions(&self) -> Option<&Array2<f32>> {
        self.positions.as_ref()
    }

    /// Which neurons carry the red label.
    pub fn red_cells(&self) -> Option<&[bool]> {
        self.red_cells.as_deref()
    }

    /// Number of gray screens shown.
    pub fn gray_screens(&self) -> usize {
        self.stimulus.iter().filter(|id| id.is_none()).count()
    }

    /// Presentations of each image, in the order shown: `trials()[image][repeat]` is a row of
    /// [`Recording::responses`].
    pub fn trials(&self) -> Vec<Vec<usize>> {
        let mut trials = vec![Vec::new(); self.images];
        for (row, id) in self.stimulus.iter().enumerate() {
            if let Some(id) = id {
                trials[*id as usize].push(row);
            }
        }
        trials
    }

    /// The smallest number of repeats over the images that were shown at all.
    pub fn repeats(&self) -> usize {
        let trials = self.trials();
        trials.iter().map(Vec::len).filter(|&n| n > 0).min().unwrap_or(0)
    }

    /// The same recording with these neurons only, in this order.
    ///
    /// # Errors
    /// When the list is empty or names a neuron that is not there.
    pub fn select_neurons(&self, neurons: &[usize]) -> Result<Self> {
        if neurons.is_empty() || neurons.iter().any(|&n| n >= self.neurons()) {
            return Err(Error::variable(
                &self.origin,
                "neurons",
                format!("cannot be selected: {} asked of {}", neurons.len(), self.neurons()),
                "select at least one, counted from 0",
            ));
        }
        Ok(Self {
            origin: self.origin.clone(),
            responses: self.responses.select(Axis(1), neurons),
            stimulus: self.stimulus.clone(),
            images: self.images,
            spontaneous: self.spontaneous.as_ref().map(|s| s.select(Axis(1), neurons)),
            positions: self.positions.as_ref().map(|p| p.select(Axis(0), neurons)),
            red_cells: self.red_cells.as_ref().map(|r| neurons.iter().map(|&n| r[n]).collect()),
        })
    }
}

/// Presentations whose ranges are found together: enough work for a thread.
const ROWS_AT_ONCE: usize = 512;

/// The range of each neuron over some presentations.
struct Ranges {
    low: Vec<f32>,
    high: Vec<f32>,
    finite: Vec<bool>,
}

impl Ranges {
    fn new(neurons: usize) -> Self {
        Self {
            low: vec![f32::INFINITY; neurons],
            high: vec![f32::NEG_INFINITY; neurons],
            finite: vec![true; neurons],
        }
    }

    fn of(rows: ArrayView2<'_, f32>, neurons: usize) -> Self {
        let mut ranges = Self::new(neurons);
        for row in rows.rows() {
            let bounds = ranges.low.iter_mut().zip(&mut ranges.high);
            for ((&value, (low, high)), finite) in row.iter().zip(bounds).zip(&mut ranges.finite) {
                *finite &= value.is_finite();
                *low = low.min(value);
                *high = high.max(value);
            }
        }
        ranges
    }

    fn merge(mut self, other: Self) -> Self {
        for (low, l) in self.low.iter_mut().zip(other.low) {
            *low = low.min(l);
        }
        for (high, h) in self.high.iter_mut().zip(other.high) {
            *high = high.max(h);
        }
        for (finite, f) in self.finite.iter_mut().zip(other.finite) {
            *finite &= f;
        }
        self
    }
}

/// The images of a stimulus set.
#[derive(Debug, Clone, PartialEq)]
pub struct Images {
    /// Grey levels, images x height x width.
    pub pixels: Array3<u8>,
    /// Visual angle of a pixel, in degrees.
    pub degrees_per_pixel: f32,
}

impl Images {
    /// Number of images.
    pub fn len(&self) -> usize {
        self.pixels.len_of(Axis(0))
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The category of each image, where somebody labelled them.
#[derive(Debug, Clone, PartialEq)]
pub struct Categories {
    /// Name of each category.
    pub names: Vec<String>,
    /// Per image an index into `names`; `None` is unknown.
    pub of: Vec<Option<u32>>,
}
