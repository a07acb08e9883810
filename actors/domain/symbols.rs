//! A compact encoding of long rows of small numbers: runs, and in between blocks of packed bits, whichever is
//! shorter; beside it plain numbers and sets.

use super::job::RecipientSet;

/// A row, written run by run, then [`Writer::flush`]ed.
pub struct Writer<'a> {
    bytes: &'a mut Vec<u8>,
    runs: Vec<(u8, u64)>,
}

/// A run that would take more packed bits than this is written as a run.
const LONGEST_PACKED_BITS: u64 = 32;

impl<'a> Writer<'a> {
    pub fn new(bytes: &'a mut Vec<u8>) -> Writer<'a> {
        Writer { bytes, runs: Vec::new() }
    }

    /// Seven bits a byte, the lowest first; the eighth says that more follow (LEB128).
    pub fn number(&mut self, mut number: u64) {
        while number > 0x7f {
            self.bytes.push(0x80 | (number & 0x7f) as u8);
            number >>= 7;
        }
        self.bytes.push(number as u8);
    }

    /// The set's bytes, as many as its highest member needs.
    pub fn set(&mut self, set: RecipientSet) {
        let bits = set.bits().to_le_bytes();
        let length = bits.iter().rposition(|byte| *byte > 0).map_or(0, |last| last + 1);
        self.number(length as u64);
        self.bytes.extend_from_slice(&bits[..length]);
    }

    /// `count` more of the same symbol.
    pub fn symbols(&mut self, symbol: u8, count: u64) {
        match self.runs.last_mut() {
            Some((last, counted)) if *last == symbol => *counted += count,
            _ if count > 0 => self.runs.push((symbol, count)),
            _ => {}
        }
    }

    /// Writes the row; `width` bits hold each symbol of it, at most 8.
    pub fn flush(&mut self, width: u32) {
        let mut packed: Vec<u8> = Vec::new();
        for (symbol, count) in std::mem::take(&mut self.runs) {
            if count.saturating_mul(u64::from(width)) <= LONGEST_PACKED_BITS {
                packed.extend(std::iter::repeat_n(symbol, count as usize));
            } else {
                self.block(&mut packed, width);
                self.number(count << 1);
                self.bytes.push(symbol);
            }
        }
        self.block(&mut packed, width);
    }

    fn block(&mut self, packed: &mut Vec<u8>, width: u32) {
        if packed.is_empty() {
            return;
        }
        self.number((packed.len() as u64) << 1 | 1);
        let (mut bits, mut held) = (0u32, 0u32);
        for symbol in packed.drain(..) {
            bits |= u32::from(symbol) << held;
            held += width;
            while held >= 8 {
                self.bytes.push(bits as u8);
                bits >>= 8;
                held -= 8;
            }
        }
        if held > 0 {
            self.bytes.push(bits as u8);
        }
    }
}

/// Reads what a [`Writer`] wrote; each answer is none where the bytes make no sense.
pub struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Reader<'a> {
        Reader { bytes }
    }

    pub fn is_at_the_end(&self) -> bool {
        self.bytes.is_empty()
    }

    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.bytes.split_first()?;
        self.bytes = rest;
        Some(*first)
    }

    pub fn number(&mut self) -> Option<u64> {
        let mut number = 0u64;
        for shift in (0..63).step_by(7) {
            let byte = self.byte()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub fn set(&mut self) -> Option<RecipientSet> {
        let length = usize::try_from(self.number()?).ok().filter(|length| *length <= 16)?;
        let mut bits = [0; 16];
        for byte in bits.iter_mut().take(length) {
            *byte = self.byte()?;
        }
        Some(RecipientSet::from_bits(u128::from_le_bytes(bits)))
    }

    /// The runs of a row of `length` symbols.
    pub fn runs(&mut self, width: u32, length: u64) -> Option<Vec<(u8, u64)>> {
        let mut runs = Vec::new();
        let mut left = length;
        while left > 0 {
            let head = self.number()?;
            let count = head >> 1;
            if count == 0 || count > left {
                return None;
            }
            left -= count;
            if head & 1 == 0 {
                runs.push((self.byte()?, count));
                continue;
            }
            let (mut bits, mut held) = (0u32, 0u32);
            for _ in 0..count {
                while held < width {
                    bits |= u32::from(self.byte()?) << held;
                    held += 8;
                }
                runs.push(((bits & ((1 << width) - 1)) as u8, 1));
                bits >>= width;
                held -= width;
            }
        }
        Some(runs)
    }
}
