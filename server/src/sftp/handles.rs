//! The handles of one channel: small numbers inside, eight hexadecimal digits outside. A slot is used again, its number
//! never: a stale handle is an error, not another file.

use std::sync::Arc;

/// Bits of a handle that say the slot; the rest counts how often it was used.
const SLOT_BITS: u32 = 8;
/// Handles at a time on one connection, all channels together.
pub(super) const MAX_HANDLES: usize = 64;

struct Slot<T> {
    generation: u32,
    holds: Option<Arc<T>>,
}

/// The table.
pub(super) struct Handles<T> {
    slots: Vec<Slot<T>>,
}

impl<T> Default for Handles<T> {
    fn default() -> Self {
        Self { slots: Vec::new() }
    }
}

impl<T> Handles<T> {
    /// Gives `value` a handle, unless all slots are taken.
    pub(super) fn insert(&mut self, value: Arc<T>) -> Option<[u8; 8]> {
        let slot = match self.slots.iter().position(|slot| slot.holds.is_none()) {
            Some(free) => free,
            None if self.slots.len() < MAX_HANDLES => {
                self.slots.push(Slot { generation: 0, holds: None });
                self.slots.len() - 1
            }
            None => return None,
        };
        let place = self.slots.get_mut(slot)?;
        // Wraps after 2^24 uses of one slot: 16 million files on one connection.
        place.generation = place.generation.wrapping_add(1) & (u32::MAX >> SLOT_BITS);
        place.holds = Some(value);
        let number = (place.generation << SLOT_BITS) | u32::try_from(slot).ok()?;
        Some(spell(number))
    }

    /// What the handle stands for.
    #[must_use]
    pub(super) fn find(&self, handle: &[u8]) -> Option<&Arc<T>> {
        let (slot, generation) = parse(handle)?;
        self.slots.get(slot).filter(|slot| slot.generation == generation)?.holds.as_ref()
    }

    /// All that is held.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Arc<T>> {
        self.slots.iter().filter_map(|slot| slot.holds.as_ref())
    }

    /// Takes the handle out of use.
    pub(super) fn remove(&mut self, handle: &[u8]) -> Option<Arc<T>> {
        let (slot, generation) = parse(handle)?;
        self.slots.get_mut(slot).filter(|slot| slot.generation == generation)?.holds.take()
    }

    /// Takes all handles out of use.
    pub(super) fn drain(&mut self) -> impl Iterator<Item = Arc<T>> + '_ {
        self.slots.iter_mut().filter_map(|slot| slot.holds.take())
    }
}

/// Hexadecimal digits: some clients keep handles as text.
fn spell(number: u32) -> [u8; 8] {
    let mut text = [0; 8];
    for (place, digit) in text.iter_mut().enumerate() {
        let value = (number >> (28 - 4 * place)) & 0xf;
        *digit = char::from_digit(value, 16).map_or(b'0', |digit| digit as u8);
    }
    text
}

fn parse(handle: &[u8]) -> Option<(usize, u32)> {
    let text: &[u8; 8] = handle.try_into().ok()?;
    let mut number = 0u32;
    for byte in text {
        let digit = match byte {
            b'0'..=b'9' => byte - b'0',
            b'a'..=b'f' => byte - b'a' + 10,
            _ => return None,
        };
        number = (number << 4) | u32::from(digit);
    }
    Some(((number & ((1 << SLOT_BITS) - 1)) as usize, number >> SLOT_BITS))
}

#[cfg(test)]
#[expect(clippy::unwrap_used, reason = "tests")]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_stale_handle_is_never_another_file() {
        let mut handles = Handles::default();
        let first = handles.insert(Arc::new("first")).unwrap();
        assert_eq!(handles.remove(&first).as_deref(), Some(&"first"));
        let second = handles.insert(Arc::new("second")).unwrap();
        assert_ne!(first, second);
        assert!(handles.find(&first).is_none());
        assert!(handles.remove(&first).is_none());
        assert_eq!(handles.find(&second).map(|held| **held), Some("second"));
    }

    #[test]
    fn slots_are_bounded_and_come_back() {
        let mut handles = Handles::default();
        let all: Vec<_> = (0..MAX_HANDLES).map(|n| handles.insert(Arc::new(n)).unwrap()).collect();
        assert!(handles.insert(Arc::new(99)).is_none());
        handles.remove(&all[10]);
        assert!(handles.insert(Arc::new(99)).is_some());
        assert_eq!(handles.drain().count(), MAX_HANDLES);
        assert_eq!(handles.drain().count(), 0);
    }

    proptest! {
        #[test]
        fn any_handle_is_looked_up_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut handles = Handles::default();
            handles.insert(Arc::new(1));
            let _ = handles.find(&bytes);
            prop_assert!(handles.remove(&bytes).is_none() || bytes == spell(1 << SLOT_BITS));
        }

        #[test]
        fn handles_read_back(number in any::<u32>()) {
            let (slot, generation) = parse(&spell(number)).unwrap();
            prop_assert_eq!(u32::try_from(slot).unwrap() | (generation << SLOT_BITS), number);
        }
    }
}
