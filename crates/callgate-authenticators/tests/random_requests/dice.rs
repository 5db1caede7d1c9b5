//! Random numbers from a seed (splitmix64).

pub(crate) struct Dice(u64);

impl Dice {
    pub(crate) fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`.
    pub(crate) fn below(&mut self, end: usize) -> usize {
        usize::try_from(self.next() % end as u64).unwrap()
    }

    pub(crate) fn one_of<'a, T>(&mut self, list: &'a [T]) -> &'a T {
        &list[self.below(list.len())]
    }

    pub(crate) fn bytes(&mut self, max: usize) -> Vec<u8> {
        (0..self.below(max + 1)).map(|_| self.next().to_le_bytes()[0]).collect()
    }

    /// Letters, wildcards, line ends, invisible and other unusual characters.
    pub(crate) fn text(&mut self, max: usize) -> String {
        const ODD: [char; 16] = [
            '.', '*', '>', ' ', '\0', '\n', '{', '}', '$', '_', '=', '/', '\u{202e}', '\u{feff}',
            'é', '"',
        ];
        (0..self.below(max + 1))
            .map(|_| match self.below(3) {
                0 => *self.one_of(&ODD),
                _ => char::from(b'a' + u8::try_from(self.below(26)).unwrap()),
            })
            .collect()
    }
}
