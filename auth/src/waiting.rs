//! A bounded number of places to wait in, and of those a bounded number for each network, so that one network's crowd
//! leaves room for the others. Knows nothing of what is waited for.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::user::Network;

/// The places.
pub(crate) struct WaitingRoom {
    places: usize,
    places_per_network: usize,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    together: usize,
    by_network: HashMap<Network, usize>,
}

/// One place. Dropping it frees it.
pub(crate) struct Place<'a> {
    room: &'a WaitingRoom,
    network: Network,
}

impl WaitingRoom {
    pub(crate) fn new(places: usize, places_per_network: usize) -> Self {
        Self { places, places_per_network, taken: Mutex::default() }
    }

    /// A place, if there is one left.
    pub(crate) fn enter(&self, network: Network) -> Option<Place<'_>> {
        let mut taken = self.lock();
        let of_network = taken.by_network.get(&network).copied().unwrap_or(0);
        if taken.together >= self.places || of_network >= self.places_per_network {
            return None;
        }
        taken.together += 1;
        taken.by_network.insert(network, of_network + 1);
        Some(Place { room: self, network })
    }

    fn lock(&self) -> MutexGuard<'_, Taken> {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut taken = self.room.lock();
        taken.together = taken.together.saturating_sub(1);
        if let Some(of_network) = taken.by_network.get_mut(&self.network) {
            *of_network = of_network.saturating_sub(1);
            if *of_network == 0 {
                taken.by_network.remove(&self.network);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn net(number: u8) -> Network {
        Network::of_peer([10, 0, 0, number].into())
    }

    #[test]
    fn a_crowd_leaves_room_for_others() {
        let room = WaitingRoom::new(5, 2);
        let crowd: Vec<_> = std::iter::from_fn(|| room.enter(net(1))).take(9).collect();
        assert_eq!(crowd.len(), 2);
        let others: Vec<_> = [2, 3, 4].into_iter().filter_map(|number| room.enter(net(number))).collect();
        assert_eq!(others.len(), 3);
        assert!(room.enter(net(5)).is_none(), "full");
        drop(crowd);
        let back = [room.enter(net(1)), room.enter(net(1)), room.enter(net(1))];
        assert_eq!(back.map(|place| place.is_some()), [true, true, false]);
        drop(others);
        assert!(room.lock().by_network.is_empty() && room.lock().together == 0);
    }
}
