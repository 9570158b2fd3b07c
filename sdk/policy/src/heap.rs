//! The heap of a guest: for one call, after which the instance and all its memory are gone.
//!
//! Much of a decision was spent in a general allocator: each name of the snapshot, each reason and each list is a
//! block. Here a block costs a few instructions:
//!
//! - Sizes are rounded up to a class: multiples of 8 bytes up to 64, then four classes to each power of two, so at most a fifth
//!   of a block is left unused.
//! - A freed block is the next one that its class gives. Blocks are never joined or split.
//! - Where a class has none a block comes off the end of the memory, which grows by [`STRIDE`] pages or by what is needed.
//! - The last block grows in place.
//!
//! A block that is to be aligned to more than 8 bytes always comes off the end.
//!
//! [`Heap`] knows addresses only; [`Memory`] is what it stands on. A policy's author has nothing to do with it: on
//! WebAssembly it is the global allocator of every crate that leans on this one.

/// Blocks begin at multiples of this.
const ALIGN: usize = 8;
/// Sizes up to this have a class for each multiple of [`ALIGN`].
const SMALL: usize = 64;
const SMALL_CLASSES: usize = SMALL / ALIGN;
/// Four for each power of two between [`SMALL`] and 2^31.
const CLASSES: usize = SMALL_CLASSES + 1 + 4 * 26;
const PAGE: usize = 64 << 10;
/// Pages by which the memory grows where that is enough and so much is granted.
const STRIDE: usize = 8;

/// What a heap stands on.
pub trait Memory {
    /// Makes so many pages more; where they begin. None if they are not granted.
    fn grow(&mut self, pages: usize) -> Option<usize>;
    /// The word at an address that this heap has given and taken back.
    fn word(&self, address: usize) -> usize;
    /// Writes one there.
    fn set_word(&mut self, address: usize, word: usize);
}

/// Which blocks are free, and where the end is.
pub struct Heap<M> {
    memory: M,
    /// From here to `end` nothing was given yet.
    next: usize,
    end: usize,
    /// Per class the address of a free block, which holds that of the next; 0 for none.
    free: [usize; CLASSES],
}

impl<M: Memory> Heap<M> {
    /// A heap with nothing.
    pub const fn new(memory: M) -> Self {
        Self { memory, next: 0, end: 0, free: [0; CLASSES] }
    }

    /// Lets it give what lies between two addresses, beside what it grows by.
    pub fn add(&mut self, from: usize, to: usize) {
        self.next = from.next_multiple_of(ALIGN);
        self.end = to.max(self.next);
    }

    /// Where a block of `size` bytes begins; none if there is no memory.
    pub fn take(&mut self, size: usize, align: usize) -> Option<usize> {
        let (class, rounded) = class(size)?;
        if align > ALIGN {
            return self.cut(rounded, align);
        }
        let block = self.free[class];
        if block == 0 {
            return self.cut(rounded, ALIGN);
        }
        self.free[class] = self.memory.word(block);
        Some(block)
    }

    /// Takes a block back.
    pub fn give(&mut self, block: usize, size: usize) {
        let Some((class, _)) = class(size) else { return };
        self.memory.set_word(block, self.free[class]);
        self.free[class] = block;
    }

    /// Whether a block may be used with another size from now on.
    pub fn resize(&mut self, block: usize, size: usize, wanted: usize) -> bool {
        let (Some((old_class, old)), Some((class, new))) = (class(size), class(wanted)) else { return false };
        if class == old_class {
            return true;
        }
        let (is_last, fits) = (block + old == self.next, self.end.saturating_sub(block) >= new);
        if is_last && fits {
            self.next = block + new;
        }
        is_last && fits
    }

    fn cut(&mut self, rounded: usize, align: usize) -> Option<usize> {
        loop {
            let block = self.next.checked_next_multiple_of(align)?;
            let after = block.checked_add(rounded)?;
            if after <= self.end {
                self.next = after;
                return Some(block);
            }
            self.grow(after - self.end)?;
        }
    }

    fn grow(&mut self, missing: usize) -> Option<()> {
        let needed = missing.div_ceil(PAGE);
        for pages in [needed.max(STRIDE), needed] {
            if let Some(begin) = self.memory.grow(pages) {
                if begin != self.end {
                    // Somebody else has grown the memory in between: what was left before that is given up.
                    self.next = begin;
                }
                self.end = begin + pages * PAGE;
                return Some(());
            }
        }
        None
    }
}

/// The class of a size, and the size of its blocks. None for more than half of what can be addressed.
fn class(size: usize) -> Option<(usize, usize)> {
    if size <= SMALL {
        let class = size.div_ceil(ALIGN).max(1);
        return Some((class, class * ALIGN));
    }
    let shift = (size - 1).ilog2() - 2;
    let steps = (size >> shift) + usize::from(!size.is_multiple_of(1 << shift));
    let class = SMALL_CLASSES + 1 + (shift as usize - 4) * 4 + steps - 5;
    (class < CLASSES).then_some((class, steps << shift))
}

#[cfg(target_arch = "wasm32")]
mod guest {
    use core::alloc::{GlobalAlloc, Layout};
    use core::cell::UnsafeCell;

    use super::{ALIGN, Heap, Memory, PAGE};

    struct Linear;

    impl Memory for Linear {
        fn grow(&mut self, pages: usize) -> Option<usize> {
            match core::arch::wasm32::memory_grow::<0>(pages) {
                usize::MAX => None,
                before => Some(before * PAGE),
            }
        }

        fn word(&self, address: usize) -> usize {
            // SAFETY: a free block of this heap: at least 8 bytes, aligned to 8, and nobody else's.
            unsafe { *(address as *const usize) }
        }

        fn set_word(&mut self, address: usize, word: usize) {
            // SAFETY: as above.
            unsafe { *(address as *mut usize) = word }
        }
    }

    struct Global(UnsafeCell<Heap<Linear>>);

    // SAFETY: a policy has one thread; the interface has no way to start another.
    unsafe impl Sync for Global {}

    impl Global {
        #[allow(clippy::mut_from_ref)]
        fn heap(&self) -> &mut Heap<Linear> {
            unsafe extern "C" {
                static __heap_base: u8;
            }
            // SAFETY: one thread, and no function of the heap calls the allocator.
            let heap = unsafe { &mut *self.0.get() };
            if heap.end == 0 {
                let pages = core::arch::wasm32::memory_size::<0>();
                heap.add(&raw const __heap_base as usize, pages * PAGE);
            }
            heap
        }
    }

    // SAFETY: blocks are disjoint, as large as asked for, and aligned to 8 or to what was asked for.
    unsafe impl GlobalAlloc for Global {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            self.heap().take(layout.size(), layout.align()).unwrap_or(0) as *mut u8
        }

        unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
            self.heap().give(block as usize, layout.size());
        }

        unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            let heap = self.heap();
            if layout.align() <= ALIGN && heap.resize(block as usize, layout.size(), size) {
                return block;
            }
            let Some(moved) = heap.take(size, layout.align()) else { return core::ptr::null_mut() };
            let moved = moved as *mut u8;
            // SAFETY: two blocks of this heap, each at least as long as what is copied.
            unsafe { core::ptr::copy_nonoverlapping(block, moved, layout.size().min(size)) };
            heap.give(block as usize, layout.size());
            moved
        }
    }

    #[global_allocator]
    static GLOBAL: Global = Global(UnsafeCell::new(Heap::new(Linear)));
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    /// Pages from the second on; at most so many, of which every `foreign`th is somebody else's.
    struct Pages {
        words: BTreeMap<usize, usize>,
        at: usize,
        most: usize,
        foreign: usize,
        grown: usize,
    }

    impl Memory for Pages {
        fn grow(&mut self, pages: usize) -> Option<usize> {
            self.grown += 1;
            if self.foreign > 0 && self.grown.is_multiple_of(self.foreign) {
                self.at += 1;
            }
            let begin = self.at;
            (begin + pages <= self.most).then(|| {
                self.at += pages;
                begin * PAGE
            })
        }

        fn word(&self, address: usize) -> usize {
            self.words[&address]
        }

        fn set_word(&mut self, address: usize, word: usize) {
            assert!(address.is_multiple_of(ALIGN) && address > 0);
            self.words.insert(address, word);
        }
    }

    fn heap(most: usize, foreign: usize) -> Heap<Pages> {
        Heap::new(Pages { words: BTreeMap::new(), at: 1, most, foreign, grown: 0 })
    }

    #[test]
    fn a_class_holds_what_is_asked_for_and_wastes_little() {
        let mut last = (1, 8);
        for size in 1..100_000 {
            let (class, rounded) = class(size).expect("it is small");
            assert!(rounded >= size && rounded.is_multiple_of(ALIGN), "{size}: {rounded}");
            assert!(rounded < size + ALIGN || rounded * 4 <= size * 5, "{size}: {rounded}");
            assert!((class, rounded) == last || (class == last.0 + 1 && rounded > last.1), "{size}");
            last = (class, rounded);
        }
        assert_eq!(class(1 << 31).map(|(_, rounded)| rounded), Some(1 << 31));
        assert_eq!(class(usize::MAX), None);
    }

    #[test]
    fn a_freed_block_is_the_next_one_of_its_class() {
        let mut heap = heap(100, 0);
        let (a, b) = (heap.take(20, 1).expect("room"), heap.take(20, 1).expect("room"));
        heap.give(a, 20);
        heap.give(b, 20);
        assert_eq!((heap.take(24, 8), heap.take(17, 4)), (Some(b), Some(a)));
        assert!(heap.take(24, 8).is_some_and(|c| c > b));
    }

    #[test]
    fn the_last_block_grows_in_place_and_another_does_not() {
        let mut heap = heap(100, 0);
        let (a, b) = (heap.take(64, 8).expect("room"), heap.take(64, 8).expect("room"));
        assert!(heap.resize(b, 64, 4_096) && !heap.resize(a, 64, 128));
        assert!(heap.take(8, 8).is_some_and(|c| c >= b + 4_096));
        assert!(heap.resize(a, 64, 58), "the same class");
    }

    #[test]
    fn what_is_there_already_is_given_before_the_memory_grows() {
        let mut heap = heap(100, 0);
        heap.add(1_001, 1_100);
        assert_eq!((heap.take(40, 8), heap.take(40, 8)), (Some(1_008), Some(1_048)));
        assert_eq!(heap.take(40, 8), Some(PAGE), "12 bytes were left, and what is grown begins elsewhere");
        heap.add(20, 10);
        assert!(heap.take(8, 8).is_some());
    }

    #[test]
    fn what_is_not_granted_is_not_there_and_less_still_is() {
        let mut heap = heap(4, 0);
        assert_eq!(heap.take(4 * PAGE, 8), None);
        assert!(heap.take(2 * PAGE, 8).is_some());
        assert_eq!(heap.take(usize::MAX - 7, 8), None);
        assert!(heap.take(100, 8).is_some());
    }

    #[test]
    fn blocks_never_overlap_whatever_is_taken_given_and_grown() {
        for foreign in [0, 2, 3] {
            let mut heap = heap(4_000, foreign);
            let mut blocks: Vec<(usize, usize)> = Vec::new();
            let mut random = 7_u64;
            for _ in 0..20_000 {
                random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let (dice, size) = ((random >> 60) as usize, (random >> 33) as usize % 3_000 + 1);
                let align = if dice == 0 { 64 } else { 8 };
                match dice {
                    0..8 => {
                        let block = heap.take(size, align).expect("room");
                        assert!(block.is_multiple_of(align));
                        blocks.push((block, size));
                    }
                    8..14 if !blocks.is_empty() => {
                        let (block, size) = blocks.swap_remove(size % blocks.len());
                        heap.give(block, size);
                    }
                    _ => {
                        if let Some(last) = blocks.last_mut()
                            && heap.resize(last.0, last.1, size)
                        {
                            last.1 = size;
                        }
                    }
                }
            }
            blocks.sort_unstable();
            assert!(blocks.len() > 100);
            assert!(blocks.windows(2).all(|pair| pair[0].0 + pair[0].1 <= pair[1].0), "foreign {foreign}");
            assert!(blocks.last().is_some_and(|(block, size)| block + size <= heap.end));
        }
    }
}
