use dina_core::{Error, FeatureMaps, LossTerms, Objective, Parameter, Result, Targets};

/// One part of a [`Weighted`] sum.
pub struct WeightedPart {
    /// Its name, under which its terms and parameters are found.
    pub name: String,
    /// What its loss is multiplied by.
    pub weight: f64,
    /// The objective, of this crate or your own.
    pub objective: Box<dyn Objective>,
}

impl WeightedPart {
    /// A part from its three fields.
    pub fn new(name: impl Into<String>, weight: f64, objective: impl Objective + 'static) -> Self {
        Self { name: name.into(), weight, objective: Box::new(objective) }
    }
}

/// The weighted sum of several objectives, `L = sum_p w_p L_p`.
///
/// The term `term` of part `part` is named `part.term` and already weighted; its parameter `objective.head` is
/// `objective.part.head`.
pub struct Weighted {
    parts: Vec<WeightedPart>,
}

impl Weighted {
    /// Keeps the parts in order.
    ///
    /// # Errors
    /// When there is no part, a weight is not positive and finite, or two parts share a name.
    pub fn new(parts: impl IntoIterator<Item = WeightedPart>) -> Result<Self> {
        let parts: Vec<WeightedPart> = parts.into_iter().collect();
        if parts.is_empty() {
            return Err(Error::value("number of weighted objectives", "at least 1", 0));
        }
        for (index, part) in parts.iter().enumerate() {
            if !(part.weight > 0. && part.weight.is_finite()) {
                let what = format!("weight of objective `{}`", part.name);
                return Err(Error::value(what, "positive and finite", part.weight));
            }
            if part.name.is_empty() || parts[..index].iter().any(|other| other.name == part.name) {
                return Err(Error::value("names of weighted objectives", "all different", &part.name));
            }
        }
        Ok(Self { parts })
    }
}

impl Objective for Weighted {
    fn loss(&self, image: &FeatureMaps, neural: &FeatureMaps, targets: &Targets) -> Result<LossTerms> {
        let mut terms = Vec::new();
        for WeightedPart { name, weight, objective } in &self.parts {
            for (term, value) in objective.loss(image, neural, targets)?.iter() {
                terms.push((format!("{name}.{term}"), (value * *weight)?));
            }
        }
        LossTerms::new(terms)
    }

    fn parameters(&self) -> Vec<Parameter> {
        let of_part = |part: &WeightedPart| {
            let namespaced = |mut parameter: Parameter| {
                let own = parameter.name.strip_prefix("objective.").unwrap_or(&parameter.name);
                parameter.name = format!("objective.{}.{own}", part.name);
                parameter
            };
            part.objective.parameters().into_iter().map(namespaced).collect::<Vec<_>>()
        };
        self.parts.iter().flat_map(of_part).collect()
    }

    fn after_step(&self) -> Result<()> {
        self.parts.iter().try_for_each(|part| part.objective.after_step())
    }
}

#[cfg(test)]
mod tests {
    use candle_core::{Device, Tensor, Var};

    use super::*;
    use crate::batch::scalar;
    use crate::check::{gradients_agree, normal, total};

    /// Somebody's own objective: a scaled squared distance, with a scale that must not exceed 1.
    struct Distance(Var);

    impl Distance {
        fn new() -> Self {
            Self(scalar(0.5, candle_core::DType::F64, &Device::Cpu).unwrap())
        }
    }

    impl Objective for Distance {
        fn loss(&self, image: &FeatureMaps, neural: &FeatureMaps, _: &Targets) -> Result<LossTerms> {
            let distance = (image.get("v1")? - neural.get("v1")?)?.sqr()?.mean_all()?;
            LossTerms::new([("distance", (distance * self.0.as_tensor())?)])
        }
        fn parameters(&self) -> Vec<Parameter> {
            vec![Parameter::new("objective.scale", self.0.clone()).without_decay().with_rate(2.)]
        }
        fn after_step(&self) -> Result<()> {
            Ok(self.0.set(&self.0.as_tensor().minimum(1.)?)?)
        }
    }

    fn weighted() -> Weighted {
        let parts = [("one", 2.), ("two", 0.5)];
        Weighted::new(parts.map(|(name, weight)| WeightedPart::new(name, weight, Distance::new()))).unwrap()
    }

    #[test]
    fn losses_add_up_under_their_names() {
        let (a, b) = (normal("a", &[2, 1, 2, 2]), normal("b", &[2, 1, 2, 2]));
        let maps = |map: &Tensor| FeatureMaps::single("v1", map.clone()).unwrap();
        let terms = weighted().loss(&maps(&a), &maps(&b), &Targets::default()).unwrap();
        let names: Vec<&str> = terms.iter().map(|(name, _)| name).collect();
        assert_eq!(names, ["one.distance", "two.distance"]);
        let alone = total(&Distance::new(), &a, &b, &Targets::default()).to_scalar::<f64>().unwrap();
        let sum = terms.total().unwrap().to_scalar::<f64>().unwrap();
        assert!((sum - 2.5 * alone).abs() < 1e-12);
    }

    #[test]
    fn parameters_are_namespaced_and_kept_in_range() {
        let weighted = weighted();
        let parameters = weighted.parameters();
        let names: Vec<&str> = parameters.iter().map(|p| p.name.as_str()).collect();
        assert_eq!(names, ["objective.one.scale", "objective.two.scale"]);
        assert!(parameters.iter().all(|p| !p.decay && p.rate == 2.));
        parameters[1].var.set(&Tensor::new(3f64, &Device::Cpu).unwrap()).unwrap();
        weighted.after_step().unwrap();
        assert_eq!(parameters[1].var.to_scalar::<f64>().unwrap(), 1.);
        let nested = Weighted::new([WeightedPart::new("sum", 1., weighted)]).unwrap();
        assert_eq!(nested.parameters()[0].name, "objective.sum.one.scale");
    }

    #[test]
    fn gradients_agree_with_finite_differences() {
        let (a, b) = (normal("a", &[2, 1, 2, 2]), normal("b", &[2, 1, 2, 2]));
        let (a, b) = (Var::from_tensor(&a).unwrap(), Var::from_tensor(&b).unwrap());
        let weighted = weighted();
        let parameters = weighted.parameters();
        let vars = [&a, &b, &parameters[0].var, &parameters[1].var];
        gradients_agree(&vars, || total(&weighted, &a, &b, &Targets::default()));
    }

    #[test]
    fn sums_that_mean_nothing_are_refused() {
        let part = |name: &str, weight| WeightedPart::new(name, weight, Distance::new());
        assert!(Weighted::new([]).is_err());
        assert!(Weighted::new([part("one", 0.)]).is_err());
        assert!(Weighted::new([part("one", f64::NAN)]).is_err());
        assert!(Weighted::new([part("one", 1.), part("one", 1.)]).is_err());
    }
}
