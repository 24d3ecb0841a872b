use dina_core::Seed;
use ndarray::{Array2, Array3, ArrayView3, Axis};

use super::{
    Driven, Look, NeuronTruth, Reference, Simulation, SimulationConfig, driven, maker, mouse, population,
    retina::Retina, variability,
};
use crate::{
    Categories, Error, Images, Recording, Result,
    stimulus::{PhaseScramble, Silhouette, Stack, StackTransform},
};

/// Grey level of a surface where it has its mean logarithmic luminance.
const MEAN_GREY: f32 = 84.0;

/// Images to show to a simulated population, with what is known of the scenes in them.
///
/// Most populations see the pixels and nothing else. Some see what no pixel says (see [`Look`]): which
/// part of the screen is an object, or what the surface of the object is like. Photographs of one's own
/// can be shown to the former only; [`Simulation::scenes`] has the scenes of a simulation, of which versions
/// can be made without surfaces or without outlines.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Scenes {
    /// What is on the screen.
    pub images: Images,
    /// 1 where an object lies and 0 elsewhere, images x height x width, where that is known.
    pub silhouettes: Option<Array3<f32>>,
    /// Logarithmic luminance of the surface of each screen's object, spread over the whole screen, images x
    /// height x width, where that is known.
    pub surfaces: Option<Array3<f32>>,
    /// Category of each image among those of the simulation, where that is known.
    pub categories: Option<Vec<Option<u32>>>,
}

impl From<Images> for Scenes {
    /// Images of which nothing but the pixels is known.
    fn from(images: Images) -> Self {
        Self { images, silhouettes: None, surfaces: None, categories: None }
    }
}

impl Scenes {
    /// The images with their objects as labels, which is what transforms take.
    ///
    /// # Errors
    /// As [`Stack::new`].
    pub fn stack(&self) -> Result<Stack> {
        let stack = Stack::from_images(&self.images)?;
        match &self.silhouettes {
            Some(objects) => stack.with_labels(objects.mapv(|v| u16::from(v > 0.0))),
            None => Ok(stack),
        }
    }

    /// The images with these numbers, in this order.
    ///
    /// # Errors
    /// When a number is not below the number of images.
    pub fn select(&self, images: &[usize]) -> Result<Self> {
        let count = self.images.len();
        if let Some(missing) = images.iter().find(|i| **i >= count) {
            return Err(dina_core::Error::value("image", format!("below {count}"), missing).into());
        }
        let planes = |planes: &Option<Array3<f32>>| planes.as_ref().map(|p| p.select(Axis(0), images));
        Ok(Self {
            images: Images {
                pixels: self.images.pixels.select(Axis(0), images),
                degrees_per_pixel: self.images.degrees_per_pixel,
            },
            silhouettes: planes(&self.silhouettes),
            surfaces: planes(&self.surfaces),
            categories: self.categories.as_ref().map(|of| images.iter().map(|&i| of[i]).collect()),
        })
    }

    /// Objects in one grey on a ground of another: surfaces and background removed.
    ///
    /// # Errors
    /// When the silhouettes are not known.
    pub fn silhouettes_alone(&self, paint: &Silhouette) -> Result<Self> {
        let Some(objects) = &self.silhouettes else { return Err(unknown("scenes", "silhouettes")) };
        // What is random is made once, in the images: silhouettes are not.
        let (images, _) = paint.apply(&self.stack()?, Seed::new(0))?.to_images();
        Ok(Self {
            images,
            surfaces: Some(Array3::zeros(objects.dim())),
            silhouettes: Some(objects.clone()),
            categories: None,
        })
    }

    /// The surface of each screen's object over the whole screen, changed by `transform` (such as
    /// [`Texture`](crate::stimulus::Texture), which makes a new sample of it; an empty
    /// [`Pipeline`](crate::stimulus::Pipeline) leaves it as it is): outlines and background removed.
    ///
    /// # Errors
    /// When the surfaces are not known; what the transform returns.
    pub fn surfaces_alone(&self, transform: &dyn StackTransform, seed: Seed) -> Result<Self> {
        let Some(surfaces) = &self.surfaces else { return Err(unknown("scenes", "surfaces")) };
        let degrees = self.images.degrees_per_pixel;
        let surfaces = transform.apply(&Stack::new(surfaces.clone(), degrees)?, seed)?.into_pixels();
        let grey = surfaces.mapv(|v| MEAN_GREY * v.exp());
        Ok(Self {
            images: Stack::new(grey, degrees)?.to_images().0,
            silhouettes: Some(Array3::zeros(surfaces.dim())),
            surfaces: Some(surfaces),
            categories: None,
        })
    }

    /// Random phases, the same for the pixels of an image and for what else is known of its scene: amplitude
    /// spectra stay.
    ///
    /// # Errors
    /// As [`Stack::new`].
    pub fn phase_scrambled(&self, seed: Seed) -> Result<Self> {
        let degrees = self.images.degrees_per_pixel;
        let scrambled = |planes: Array3<f32>| -> Result<Stack> {
            PhaseScramble::default().apply(&Stack::new(planes, degrees)?, seed)
        };
        let planes = |planes: &Option<Array3<f32>>| -> Result<Option<Array3<f32>>> {
            planes.as_ref().map(|p| Ok(scrambled(p.clone())?.into_pixels())).transpose()
        };
        Ok(Self {
            images: scrambled(self.images.pixels.mapv(f32::from))?.to_images().0,
            silhouettes: planes(&self.silhouettes)?,
            surfaces: planes(&self.surfaces)?,
            categories: None,
        })
    }

    /// Any other change of the pixels, after which nothing is known of the scenes.
    ///
    /// # Errors
    /// What the transform returns.
    pub fn transformed(&self, transform: &dyn StackTransform, seed: Seed) -> Result<Self> {
        Ok(transform.apply(&self.stack()?, seed)?.to_images().0.into())
    }

    /// Refuses planes of another size than the images, and categories of another number.
    fn check(&self, config: &SimulationConfig) -> Result<()> {
        let (count, height, width) = self.images.pixels.dim();
        if (height, width) != (config.height, config.width) || self.images.degrees_per_pixel != 1.0 {
            let degrees = self.images.degrees_per_pixel;
            return Err(Error::variable(
                origin(config),
                "images",
                format!(
                    "have {height} x {width} pixels of {degrees} degrees, on a screen of {} x {} pixels of 1 degree",
                    config.height, config.width
                ),
                "crop and resize them, as with `stimulus::Crop` and `stimulus::Resize`",
            ));
        }
        for (name, planes) in [("silhouettes", &self.silhouettes), ("surfaces", &self.surfaces)] {
            let Some(planes) = planes else { continue };
            if planes.dim() != self.images.pixels.dim() || planes.iter().any(|v| !v.is_finite()) {
                return Err(Error::variable(
                    origin(config),
                    name,
                    format!(
                        "are {:?}, or not finite, for images {:?}",
                        planes.dim(),
                        self.images.pixels.dim()
                    ),
                    "give one finite value a pixel",
                ));
            }
        }
        match &self.categories {
            Some(of) if of.len() != count => {
                Err(dina_core::Error::shape("categories of scenes", count, of.len()).into())
            }
            _ => Ok(()),
        }
    }
}

/// What is not known of scenes, and what can be done.
fn unknown(origin: impl Into<String>, what: &str) -> Error {
    Error::variable(
        origin,
        what,
        "are not known of these images, and their pixels do not say",
        "show scenes of `Simulation::scenes`, or versions of them by `Scenes::silhouettes_alone`, \
         `Scenes::surfaces_alone` or `Scenes::phase_scrambled`; or set this field",
    )
}

fn origin(config: &SimulationConfig) -> String {
    format!("simulated population `{}`", config.population)
}

/// A population that is shown something: its neurons, what they are adapted to, and what the scenes drive.
struct Shown {
    neurons: Vec<NeuronTruth>,
    driven: Driven,
}

impl Simulation {
    /// The images that were shown, with everything that is known of their scenes.
    pub fn scenes(&self) -> Scenes {
        let config = &self.truth.config;
        let seed = config.root();
        let maker = maker(config, seed);
        let images = seed.child("image");
        let count = self.images.len();
        Scenes {
            images: self.images.clone(),
            silhouettes: Some(maker.silhouettes(images, count)),
            surfaces: Some(maker.surfaces(images, count)),
            categories: Some(self.categories.of.clone()),
        }
    }

    /// Mean response over noise of the same neurons to any images, neurons x images: [`Truth::rates`](super::Truth::rates) for
    /// the images of the simulation. Neurons stay adapted to the images that they were adapted to.
    ///
    /// Neurons that carry information in pairs only have the same rate for every image.
    ///
    /// # Errors
    /// When the images are not of the size of the screen, or the population sees what is not known of them.
    ///
    /// ```
    /// use dina_data::simulate::{Population, Scenes, SimulationConfig, simulate};
    ///
    /// let config = SimulationConfig {
    ///     neurons: 8,
    ///     images: 12,
    ///     height: 32,
    ///     width: 60,
    ///     ..SimulationConfig::new(Population::Shape)
    /// };
    /// let simulation = simulate(&config, &|_| ())?;
    /// let scenes = simulation.scenes();
    /// let outlines = simulation.rates(&scenes.silhouettes_alone(&Default::default())?)?;
    /// assert_eq!(outlines, simulation.truth.rates);
    /// // The pixels do not say where objects are.
    /// assert!(simulation.rates(&Scenes::from(scenes.images)).is_err());
    /// # Ok::<(), dina_data::Error>(())
    /// ```
    pub fn rates(&self, scenes: &Scenes) -> Result<Array2<f32>> {
        let Shown { neurons, driven } = self.show(scenes)?;
        let mut rates = driven.rates;
        for (mut row, neuron) in rates.outer_iter_mut().zip(&neurons) {
            row.mapv_inplace(|d| neuron.gain * (neuron.baseline + d));
        }
        Ok(rates)
    }

    /// Single responses of the same neurons to any images, each shown `repeats` times: all images in order, then
    /// all again. Shared activity and private noise come from `seed` and are those of the population.
    ///
    /// # Errors
    /// As [`Simulation::rates`]; for no repeats.
    pub fn respond(&self, scenes: &Scenes, repeats: usize, seed: Seed) -> Result<Recording> {
        if repeats == 0 {
            return Err(dina_core::Error::value("repeats", "at least 1", 0).into());
        }
        let config = &self.truth.config;
        let Shown { neurons, driven } = self.show(scenes)?;
        let modes = config.cortex().shared_modes;
        let animal = mouse(config, config.root());
        let loadings = variability::Loadings::new(&neurons, modes, animal.child("shared"));
        let state = seed.child("state");
        let images = scenes.images.len();
        let trials = variability::responses(
            &neurons,
            &loadings,
            &variability::courses(modes, images * repeats, |t| state.index(t / repeats).index(t % repeats)),
            &variability::Stimulation { rates: driven.rates.view(), pairs: driven.pairs.as_ref() },
            |t| t / repeats,
            seed.child("trials"),
            &|_| (),
        );
        let order: Vec<usize> =
            (0..repeats).flat_map(|r| (0..images).map(move |i| i * repeats + r)).collect();
        let responses = trials.select(Axis(1), &order).reversed_axes().as_standard_layout().into_owned();
        let stimulus = order.iter().map(|t| Some((t / repeats) as u32)).collect();
        let positions = Array2::from_shape_fn((neurons.len(), 3), |(i, k)| neurons[i].position[k]);
        Recording::new(origin(config), responses, stimulus, images)?
            .with_positions(positions)?
            .with_red_cells(neurons.iter().map(|n| n.red).collect())
    }

    fn show(&self, scenes: &Scenes) -> Result<Shown> {
        let config = &self.truth.config;
        scenes.check(config)?;
        let look = config.cortex().look;
        let seed = config.root();
        let reference = Reference::new(config, seed);
        let planes = |known: &Option<Array3<f32>>, what: &str| {
            known.clone().ok_or_else(|| unknown(origin(config), what))
        };
        let retina = match look {
            Look::Silhouettes => given(look, &reference, planes(&scenes.silhouettes, "silhouettes")?.view()),
            Look::Surfaces => given(look, &reference, planes(&scenes.surfaces, "surfaces")?.view()),
            Look::Whole | Look::Below(_) | Look::From(_) => {
                driven::look(look, seed.child("image"), &reference, &scenes.images)
            }
        };
        let categories = match &scenes.categories {
            Some(of) => Categories { names: self.categories.names.clone(), of: of.clone() },
            None if config.cortex().category_share == 0.0 => {
                Categories { names: Vec::new(), of: vec![None; scenes.images.len()] }
            }
            None => return Err(unknown(origin(config), "categories")),
        };
        let neurons = population(config, mouse(config, seed));
        let driven = Driven::of(config, &retina, &categories, &neurons, &|_| ());
        Ok(Shown { neurons, driven })
    }
}

/// What is seen where the planes that neurons look at are known.
fn given(look: Look, reference: &Reference, shown: ArrayView3<'_, f32>) -> Retina {
    let adapted = look.planes(&reference.maker, &reference.images, reference.seed);
    let (_, height, width) = shown.dim();
    Retina::of(&[shown, adapted.view(), Array3::zeros((1, height, width)).view()])
}
