use ndarray::ArrayD;
#[cfg(feature = "hdf5")]
use ndarray::{IxDyn, ShapeBuilder};
use serde::{Deserialize, Serialize};

/// The type of one element of an array, named as numpy names it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[allow(missing_docs, reason = "the names say it")]
pub enum DType {
    Int8,
    UInt8,
    Int16,
    UInt16,
    Int32,
    UInt32,
    Int64,
    UInt64,
    Float32,
    Float64,
}

impl DType {
    /// Bytes per element.
    pub fn size(self) -> usize {
        match self {
            Self::Int8 | Self::UInt8 => 1,
            Self::Int16 | Self::UInt16 => 2,
            Self::Int32 | Self::UInt32 | Self::Float32 => 4,
            Self::Int64 | Self::UInt64 | Self::Float64 => 8,
        }
    }

    /// The name numpy gives it, such as `float32`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Int8 => "int8",
            Self::UInt8 => "uint8",
            Self::Int16 => "int16",
            Self::UInt16 => "uint16",
            Self::Int32 => "int32",
            Self::UInt32 => "uint32",
            Self::Int64 => "int64",
            Self::UInt64 => "uint64",
            Self::Float32 => "float32",
            Self::Float64 => "float64",
        }
    }
}

/// The order of the bytes of a number in a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum ByteOrder {
    Little,
    Big,
}

/// A number as files hold it.
pub(crate) trait Element: Copy + Default + Send + 'static {
    const SIZE: usize;

    /// Calls `f` with each number of `bytes`, whose length is a multiple of [`Element::SIZE`].
    fn decode(bytes: &[u8], order: ByteOrder, f: impl FnMut(Self));

    /// The numbers of `bytes` as `f32`, as far as both last.
    fn decode_singles(bytes: &[u8], order: ByteOrder, slots: &mut [f32]);

    fn wide(self) -> f64;

    fn single(self) -> f32;

    /// An array of this type as a [`Numeric`].
    fn numeric(array: ArrayD<Self>) -> Numeric;
}

macro_rules! elements {
    ($($variant:ident $kind:ty),*) => {
        /// A real array of any element type.
        ///
        /// Elements keep the type in which the file stores them, as `scipy.io.loadmat` and
        /// `numpy.load` do, so that nothing grows by being read. The memory order is the file's.
        #[derive(Debug, Clone, PartialEq)]
        #[allow(missing_docs, reason = "the names say it")]
        pub enum Numeric {
            $($variant(ArrayD<$kind>),)*
        }

        $(
            impl Element for $kind {
                const SIZE: usize = size_of::<$kind>();

                #[inline]
                fn decode(bytes: &[u8], order: ByteOrder, mut f: impl FnMut(Self)) {
                    let (numbers, _) = bytes.as_chunks::<{ size_of::<$kind>() }>();
                    match order {
                        ByteOrder::Little => {
                            numbers.iter().for_each(|&b| f(<$kind>::from_le_bytes(b)));
                        }
                        ByteOrder::Big => {
                            numbers.iter().for_each(|&b| f(<$kind>::from_be_bytes(b)));
                        }
                    }
                }

                fn decode_singles(bytes: &[u8], order: ByteOrder, slots: &mut [f32]) {
                    let (numbers, _) = bytes.as_chunks::<{ size_of::<$kind>() }>();
                    match order {
                        ByteOrder::Little => {
                            for (slot, &b) in slots.iter_mut().zip(numbers) {
                                *slot = <$kind>::from_le_bytes(b) as f32;
                            }
                        }
                        ByteOrder::Big => {
                            for (slot, &b) in slots.iter_mut().zip(numbers) {
                                *slot = <$kind>::from_be_bytes(b) as f32;
                            }
                        }
                    }
                }

                #[inline]
                fn wide(self) -> f64 {
                    self as f64
                }

                #[inline]
                fn single(self) -> f32 {
                    self as f32
                }

                fn numeric(array: ArrayD<Self>) -> Numeric {
                    Numeric::$variant(array)
                }
            }

            impl From<ArrayD<$kind>> for Numeric {
                fn from(array: ArrayD<$kind>) -> Self {
                    Self::$variant(array)
                }
            }
        )*

        /// Runs `$body` with `$array` bound to the typed array.
        macro_rules! each {
            ($numeric:expr, $array:ident => $body:expr) => {
                match $numeric {
                    $(Numeric::$variant($array) => $body,)*
                }
            };
        }

        /// Runs `$body` with the type `$element` of a [`DType`].
        macro_rules! with_element {
            ($dtype:expr, $element:ident => $body:expr) => {
                match $dtype {
                    $(DType::$variant => { type $element = $kind; $body })*
                }
            };
        }
        pub(crate) use with_element;

        impl Numeric {
            /// The type of the elements.
            pub fn dtype(&self) -> DType {
                match self {
                    $(Self::$variant(_) => DType::$variant,)*
                }
            }
        }
    };
}

elements!(
    Int8 i8, UInt8 u8, Int16 i16, UInt16 u16, Int32 i32, UInt32 u32, Int64 i64, UInt64 u64,
    Float32 f32, Float64 f64
);

impl Numeric {
    /// The extent of every axis.
    pub fn shape(&self) -> &[usize] {
        each!(self, array => array.shape())
    }

    /// Number of elements.
    pub fn len(&self) -> usize {
        each!(self, array => array.len())
    }

    /// Whether there is no element.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of all elements in `f64`, with the rounding error of each addition carried along
    /// (Neumaier 1974), so that it does not depend on the order of the elements.
    pub fn sum(&self) -> f64 {
        let mut sum = CompensatedSum::default();
        self.for_each(|v| sum.add(v));
        sum.total()
    }

    /// Calls `f` with every element as `f64`, last axis fastest.
    pub(crate) fn for_each(&self, mut f: impl FnMut(f64)) {
        each!(self, array => array.iter().for_each(|&v| f(Element::wide(v))));
    }

    /// No element at all.
    #[cfg(feature = "hdf5")]
    pub(crate) fn empty(dtype: DType) -> Self {
        with_element!(dtype, T => T::numeric(ArrayD::from_shape_vec(IxDyn(&[0]), Vec::new())
            .unwrap_or_default()))
    }

    /// The same elements, in the order in which they lie in memory, in another shape.
    #[cfg(feature = "hdf5")]
    pub(crate) fn reshaped(self, shape: &[usize], first_axis_fastest: bool) -> Result<Self, String> {
        each!(self, array => {
            let (values, _) = array.into_raw_vec_and_offset();
            let count = values.len();
            ArrayD::from_shape_vec(IxDyn(shape).set_f(first_axis_fastest), values)
                .map(Element::numeric)
                .map_err(|_| format!("{count} elements do not make the shape {shape:?}"))
        })
    }

    /// Every element as `f64`, first axis fastest (MATLAB's `x(:)`). Integers beyond 2^53 are
    /// rounded.
    pub fn to_f64(&self) -> Vec<f64> {
        each!(self, array => array.t().iter().map(|&v| Element::wide(v)).collect())
    }

    /// Every element as `f32`, in the same shape; moved, not copied, where it is `f32` already.
    pub fn into_f32(self) -> ArrayD<f32> {
        match self {
            Self::Float32(array) => array,
            other => each!(other, array => array.mapv(Element::single)),
        }
    }

    /// The value, where there is exactly one element.
    pub fn scalar(&self) -> Option<f64> {
        each!(self, array => match array.len() {
            1 => array.first().map(|&v| Element::wide(v)),
            _ => None,
        })
    }
}

/// Neumaier's sum. Infinities and NaN come out as plain addition gives them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CompensatedSum {
    sum: f64,
    lost: f64,
    plain: f64,
}

impl CompensatedSum {
    pub fn add(&mut self, value: f64) {
        self.plain += value;
        let next = self.sum + value;
        self.lost +=
            if self.sum.abs() >= value.abs() { (self.sum - next) + value } else { (value - next) + self.sum };
        self.sum = next;
    }

    pub fn total(self) -> f64 {
        if self.plain.is_finite() { self.sum + self.lost } else { self.plain }
    }
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn sums_do_not_lose_what_cancels() {
        let values = Numeric::from(array![1e100, 1.0, -1e100].into_dyn());
        assert_eq!(values.sum(), 1.0);
        let sum = |values: &[f64]| {
            let mut sum = CompensatedSum::default();
            values.iter().for_each(|&v| sum.add(v));
            sum.total()
        };
        assert_eq!(sum(&[f64::INFINITY, 1.0]), f64::INFINITY);
        assert!(sum(&[f64::NAN, 1.0]).is_nan());
        assert_eq!(sum(&[]), 0.0);
    }

    #[test]
    fn both_byte_orders() {
        let mut seen = Vec::new();
        i16::decode(&[0x01, 0x02, 0xff, 0xfe], ByteOrder::Little, |v| seen.push(v));
        i16::decode(&[0x01, 0x02, 0xff, 0xfe], ByteOrder::Big, |v| seen.push(v));
        assert_eq!(seen, [0x0201, -257, 0x0102, -2]);
    }

    #[test]
    fn first_axis_is_fastest() {
        let values = Numeric::from(array![[1_i32, 2], [3, 4]].into_dyn());
        assert_eq!(values.to_f64(), [1.0, 3.0, 2.0, 4.0]);
        assert_eq!(values.into_f32(), array![[1.0_f32, 2.0], [3.0, 4.0]].into_dyn());
    }
}
