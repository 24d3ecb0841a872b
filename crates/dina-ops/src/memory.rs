//! What the C allocator does with large blocks.

/// Tells the allocator of glibc to keep large blocks for the next step instead of giving them back to the system; returns
/// whether there was such an allocator to tell.
///
/// A training step allocates and frees the same tensors again and again. By default glibc maps each of them anew, and the
/// kernel clears every page of it and interrupts the other cores when it goes: about a tenth of a step. The price is that
/// memory is not given back before the program ends. It holds for the whole process: for programs to call, once and first,
/// not for libraries. Elsewhere (musl, macOS, Windows, or another global allocator) nothing is done.
pub fn keep_large_blocks() -> bool {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const TRIM_THRESHOLD: i32 = -1;
        const TOP_PAD: i32 = -2;
        const MMAP_MAX: i32 = -4;
        unsafe extern "C" {
            fn mallopt(parameter: i32, value: i32) -> i32;
        }
        let settings = [(MMAP_MAX, 0), (TRIM_THRESHOLD, i32::MAX), (TOP_PAD, 64 << 20)];
        // SAFETY: mallopt takes two integers by value and may be called at any time.
        settings.into_iter().all(|(parameter, value)| unsafe { mallopt(parameter, value) } == 1)
    }
    #[cfg(not(all(target_os = "linux", target_env = "gnu")))]
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn memory_is_had_as_before() {
        let told = super::keep_large_blocks();
        assert_eq!(told, cfg!(all(target_os = "linux", target_env = "gnu")));
        let large = vec![1u8; 80 << 20];
        assert_eq!(large.iter().map(|&v| u64::from(v)).sum::<u64>(), 80 << 20);
    }
}
