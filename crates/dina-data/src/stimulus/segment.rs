//! Where an object ends, for images that nobody labelled.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use ndarray::{Array2, ArrayView2};

/// A Gaussian blur of this standard deviation in pixels, the image in the mirror beyond its border.
pub(super) fn blurred(image: ArrayView2<'_, f32>, sigma: f32) -> Array2<f32> {
    let reach = (3.0 * sigma).ceil() as usize;
    if reach == 0 {
        return image.to_owned();
    }
    let raw: Vec<f32> =
        (0..=2 * reach).map(|i| (-0.5 * ((i as f32 - reach as f32) / sigma).powi(2)).exp()).collect();
    let sum: f32 = raw.iter().sum();
    let pass = |image: &Array2<f32>| {
        let width = image.ncols();
        Array2::from_shape_fn(image.dim(), |(y, x)| {
            let at = |k: usize| image[[y, mirrored(x as isize + k as isize - reach as isize, width)]];
            raw.iter().enumerate().map(|(k, w)| w * at(k)).sum::<f32>() / sum
        })
    };
    let across = pass(&image.to_owned()).reversed_axes();
    pass(&across).reversed_axes().as_standard_layout().into_owned()
}

fn mirrored(i: isize, n: usize) -> usize {
    let n = n as isize;
    let i = i.rem_euclid(2 * n);
    (if i < n { i } else { 2 * n - 1 - i }) as usize
}

/// Downward and rightward derivative of every pixel, by central differences; one-sided at borders.
fn gradient(image: &Array2<f32>) -> (Array2<f32>, Array2<f32>) {
    let (height, width) = image.dim();
    let difference = |low: usize, high: usize, at: &dyn Fn(usize) -> f32| {
        if high > low { (at(high) - at(low)) / (high - low) as f32 } else { 0.0 }
    };
    let down = Array2::from_shape_fn((height, width), |(y, x)| {
        difference(y.saturating_sub(1), (y + 1).min(height - 1), &|y| image[[y, x]])
    });
    let right = Array2::from_shape_fn((height, width), |(y, x)| {
        difference(x.saturating_sub(1), (x + 1).min(width - 1), &|x| image[[y, x]])
    });
    (down, right)
}

/// The figure of an image: what lies behind edges, seen from the border.
///
/// The distance of a pixel is the sum of grey-level differences along the path from the border of the
/// image that has the least (a geodesic distance with the border as ground; Wei et al. 2012), each
/// lessened by the median difference, so that texture and shading do not add up. The figure is what
/// is farther than the threshold that separates two classes of distances best (Otsu 1979). Threads
/// narrower than half of `diameter` (in pixels) are cut off by an opening with a disc; spots and
/// holes smaller than a disc of `diameter` are given to what is around them. `image` is blurred
/// already.
pub(super) fn figure(image: &Array2<f32>, diameter: f32) -> Array2<bool> {
    let distance = distances(image);
    let far = distance.iter().fold(0.0, |most: f32, &d| most.max(d));
    if far <= 0.0 {
        return Array2::from_elem(image.dim(), false);
    }
    let threshold = otsu(&distance, far);
    let figure = distance.mapv(|d| d > threshold);
    let smallest = (std::f32::consts::PI * (diameter / 2.0).powi(2)).round().max(1.0) as usize;
    let eroded = grown(&figure.mapv(|f| !f), diameter / 4.0).mapv(|f| !f);
    let mut figure = grown(&eroded, diameter / 4.0);
    remove_small(&mut figure, smallest, true);
    remove_small(&mut figure, smallest, false);
    figure
}

/// Every pixel within this distance, in pixels, of one that is set.
pub(super) fn grown(mask: &Array2<bool>, radius: f32) -> Array2<bool> {
    let (height, width) = mask.dim();
    let reach = radius as usize;
    let mut out = mask.clone();
    for ((y, x), _) in mask.indexed_iter().filter(|(_, set)| **set) {
        for v in y.saturating_sub(reach)..(y + reach + 1).min(height) {
            for u in x.saturating_sub(reach)..(x + reach + 1).min(width) {
                if (v as f32 - y as f32).hypot(u as f32 - x as f32) <= radius {
                    out[[v, u]] = true;
                }
            }
        }
    }
    out
}

fn distances(image: &Array2<f32>) -> Array2<f32> {
    let (height, width) = image.dim();
    let neighbours = |y: usize, x: usize| {
        [(y.wrapping_sub(1), x), (y + 1, x), (y, x.wrapping_sub(1)), (y, x + 1)]
            .into_iter()
            .filter(move |&(y, x)| y < height && x < width)
    };
    let mut steps: Vec<f32> = image
        .indexed_iter()
        .flat_map(|((y, x), v)| neighbours(y, x).map(move |at| (image[at] - v).abs()))
        .collect();
    steps.sort_by(f32::total_cmp);
    let usual = steps.get(steps.len() / 2).copied().unwrap_or(0.0);
    let mut distance = Array2::from_elem((height, width), f32::INFINITY);
    // Distances are not negative: their bits are in their order.
    let mut open = BinaryHeap::new();
    for ((y, x), d) in distance.indexed_iter_mut() {
        if y == 0 || x == 0 || y + 1 == height || x + 1 == width {
            *d = 0.0;
            open.push(Reverse((0u32, y, x)));
        }
    }
    while let Some(Reverse((bits, y, x))) = open.pop() {
        let here = f32::from_bits(bits);
        if here > distance[[y, x]] {
            continue;
        }
        for next in neighbours(y, x) {
            let through = here + ((image[next] - image[[y, x]]).abs() - usual).max(0.0);
            if through < distance[next] {
                distance[next] = through;
                open.push(Reverse((through.to_bits(), next.0, next.1)));
            }
        }
    }
    distance
}

/// The threshold of greatest variance between classes, of 256 between 0 and the largest value.
fn otsu(values: &Array2<f32>, largest: f32) -> f32 {
    const LEVELS: usize = 256;
    let mut histogram = [0.0f64; LEVELS];
    for v in values {
        histogram[((v / largest * LEVELS as f32) as usize).min(LEVELS - 1)] += 1.0;
    }
    let all: f64 = histogram.iter().sum();
    let moment: f64 = histogram.iter().enumerate().map(|(i, n)| i as f64 * n).sum();
    let (mut below, mut sum) = (0.0, 0.0);
    let mut best = (0.0, 0);
    for (i, n) in histogram.iter().enumerate() {
        below += n;
        sum += i as f64 * n;
        if below > 0.0 && below < all {
            let apart = (moment * below / all - sum).powi(2) / (below * (all - below));
            if apart > best.0 {
                best = (apart, i);
            }
        }
    }
    (best.1 + 1) as f32 / LEVELS as f32 * largest
}

/// Turns connected regions of this value with fewer pixels into the other value; holes (regions of
/// `false` that do not touch the border) whatever their size.
fn remove_small(mask: &mut Array2<bool>, smallest: usize, value: bool) {
    let (height, width) = mask.dim();
    let mut seen = Array2::from_elem((height, width), false);
    for start in ndarray::indices((height, width)) {
        if seen[start] || mask[start] != value {
            continue;
        }
        let mut region = vec![start];
        seen[start] = true;
        let (mut next, mut open) = (0, false);
        while next < region.len() {
            let (y, x) = region[next];
            next += 1;
            open |= y == 0 || x == 0 || y + 1 == height || x + 1 == width;
            for (y, x) in [(y.wrapping_sub(1), x), (y + 1, x), (y, x.wrapping_sub(1)), (y, x + 1)] {
                if y < height && x < width && !seen[[y, x]] && mask[[y, x]] == value {
                    seen[[y, x]] = true;
                    region.push((y, x));
                }
            }
        }
        if region.len() < smallest && (value || !open) {
            region.into_iter().for_each(|at| mask[at] = !value);
        }
    }
}

/// Edges of an image that is blurred already: maxima of the gradient across themselves, kept where
/// the gradient is among the `share` strongest of the image, and from there along the line down to 0.4 of
/// that (Canny 1986).
pub(super) fn edges(image: &Array2<f32>, share: f32) -> Array2<bool> {
    let (height, width) = image.dim();
    let (down, right) = gradient(image);
    let size = Array2::from_shape_fn((height, width), |at| down[at].hypot(right[at]));
    let at = |y: f32, x: f32| -> f32 {
        // Bilinear between pixels.
        let (y, x) = (y.clamp(0.0, height as f32 - 1.0), x.clamp(0.0, width as f32 - 1.0));
        let (t, l) = (y as usize, x as usize);
        let (b, r) = ((t + 1).min(height - 1), (l + 1).min(width - 1));
        let (v, h) = (y - t as f32, x - l as f32);
        (1.0 - v) * ((1.0 - h) * size[[t, l]] + h * size[[t, r]])
            + v * ((1.0 - h) * size[[b, l]] + h * size[[b, r]])
    };
    let ridge = Array2::from_shape_fn((height, width), |(y, x)| {
        let g = size[[y, x]];
        if g <= 0.0 {
            return false;
        }
        let (dy, dx) = (down[[y, x]] / g, right[[y, x]] / g);
        let (y, x) = (y as f32, x as f32);
        g >= at(y + dy, x + dx) && g > at(y - dy, x - dx)
    });
    let mut sorted: Vec<f32> = size.iter().copied().collect();
    sorted.sort_by(f32::total_cmp);
    let rank = ((1.0 - share) * sorted.len() as f32) as usize;
    let strong = sorted[rank.min(sorted.len() - 1)].max(f32::MIN_POSITIVE);
    let mut edge = Array2::from_shape_fn((height, width), |i| ridge[i] && size[i] >= strong);
    let mut open: Vec<(usize, usize)> = edge.indexed_iter().filter(|(_, e)| **e).map(|(at, _)| at).collect();
    while let Some((y, x)) = open.pop() {
        for y in y.saturating_sub(1)..(y + 2).min(height) {
            for x in x.saturating_sub(1)..(x + 2).min(width) {
                if !edge[[y, x]] && ridge[[y, x]] && size[[y, x]] >= 0.4 * strong {
                    edge[[y, x]] = true;
                    open.push((y, x));
                }
            }
        }
    }
    edge
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A bright disc with a dark hole in front of a slope.
    fn disc() -> Array2<f32> {
        Array2::from_shape_fn((40, 60), |(y, x)| {
            let r = (y as f32 - 20.0).hypot(x as f32 - 35.0);
            if r < 12.0 && r > 1.5 { 200.0 } else { 50.0 + 0.5 * x as f32 }
        })
    }

    #[test]
    fn a_disc_before_a_slope_is_the_figure_and_its_hole_is_filled() {
        let found = figure(&blurred(disc().view(), 1.0), 6.0);
        for ((y, x), &inside) in found.indexed_iter() {
            let r = (y as f32 - 20.0).hypot(x as f32 - 35.0);
            if (r - 12.0).abs() > 1.5 {
                assert_eq!(inside, r < 12.0, "({y}, {x})");
            }
        }
        assert!(figure(&Array2::from_elem((9, 9), 3.0), 2.0).iter().all(|f| !f));
    }

    #[test]
    fn edges_are_thin_and_where_grey_changes() {
        let image = Array2::from_shape_fn((30, 40), |(_, x)| if x < 17 { 20.0 } else { 180.0 });
        let found = edges(&blurred(image.view(), 1.5), 0.1);
        for ((_, x), edge) in found.indexed_iter() {
            assert!(!edge || (16..=17).contains(&x), "{x}");
        }
        for row in found.rows() {
            assert_eq!(row.iter().filter(|e| **e).count(), 1);
        }
        assert!(edges(&Array2::from_elem((9, 9), 3.0), 0.1).iter().all(|e| !e));
    }

    #[test]
    fn a_blur_keeps_the_mean_and_a_uniform_image() {
        let image = disc();
        let soft = blurred(image.view(), 2.0);
        assert!((soft.mean().unwrap() - image.mean().unwrap()).abs() < 1e-2);
        assert!(blurred(Array2::from_elem((5, 7), 9.0).view(), 3.0).iter().all(|v| (v - 9.0).abs() < 1e-4));
    }
}
