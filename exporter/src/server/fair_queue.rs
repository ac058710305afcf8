//! A fair queue with a limit: clients take turns, and if the queue is full, items of the client with the most are removed.

use std::collections::VecDeque;

use super::prefix::Prefix;

/// Waiting items, in turns between prefixes and in order within each prefix.
#[derive(Debug)]
pub(super) struct FairQueue<T> {
    /// In the order of their turns. None is empty.
    prefixes: VecDeque<(Prefix, VecDeque<T>)>,
    length: usize,
    limit: usize,
}

impl<T> FairQueue<T> {
    /// Creates an empty queue of at most `limit` items.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            prefixes: VecDeque::new(),
            length: 0,
            limit,
        }
    }

    /// Adds an item. Above the limit, returns the newest item of the prefix that has the most, which is the added item if
    /// no other prefix has more than its own.
    pub(super) fn push(&mut self, prefix: Prefix, item: T) -> Option<T> {
        let known = self.prefixes.iter_mut().find(|(one, _)| *one == prefix);
        match known {
            Some((_, items)) => items.push_back(item),
            None => self.prefixes.push_back((prefix, VecDeque::from([item]))),
        }
        self.length += 1;
        if self.length <= self.limit {
            return None;
        }
        let fullest = self
            .prefixes
            .iter()
            .enumerate()
            .max_by_key(|(_, (one, items))| (items.len(), *one == prefix))
            .map(|(index, _)| index)?;
        let (_, items) = self.prefixes.get_mut(fullest)?;
        let dropped = items.pop_back();
        if items.is_empty() {
            self.prefixes.remove(fullest);
        }
        self.length -= 1;
        dropped
    }

    /// Removes the first item of the prefix whose turn it is.
    pub(super) fn pop(&mut self) -> Option<T> {
        let (prefix, mut items) = self.prefixes.pop_front()?;
        let item = items.pop_front();
        if !items.is_empty() {
            self.prefixes.push_back((prefix, items));
        }
        self.length -= 1;
        item
    }
}

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use proptest::prelude::*;

    use super::*;

    fn prefix(last: u8) -> Prefix {
        Prefix::from(IpAddr::V4(Ipv4Addr::new(10, 0, 0, last)))
    }

    fn drained<T>(mut queue: FairQueue<T>) -> Vec<T> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn prefixes_take_turns() {
        let mut queue = FairQueue::new(10);
        for item in ["1a", "1b", "1c", "2a", "3a", "2b"] {
            assert_eq!(queue.push(prefix(item.as_bytes()[0]), item), None);
        }
        assert_eq!(drained(queue), ["1a", "2a", "3a", "1b", "2b", "1c"]);
    }

    #[test]
    fn room_is_made_at_the_expense_of_the_fullest() {
        let mut queue = FairQueue::new(4);
        for item in ["1a", "1b", "1c", "2a"] {
            assert_eq!(queue.push(prefix(item.as_bytes()[0]), item), None);
        }
        assert_eq!(queue.push(prefix(b'1'), "1d"), Some("1d"));
        assert_eq!(queue.push(prefix(b'3'), "3a"), Some("1c"));
        // From here on each has at most two, so no prefix has more than a new one would have.
        assert_eq!(queue.push(prefix(b'2'), "2b"), Some("2b"));
        assert_eq!(queue.push(prefix(b'4'), "4a"), Some("1b"));
        assert_eq!(queue.push(prefix(b'5'), "5a"), Some("5a"));
        assert_eq!(drained(queue), ["1a", "2a", "3a", "4a"]);
    }

    proptest! {
        #[test]
        fn what_goes_in_comes_out_once_within_the_limit(
            limit in 1..6_usize,
            pushes in proptest::collection::vec((0..4_u8, any::<bool>()), 0..40),
        ) {
            let (mut queue, mut out, mut waiting) = (FairQueue::new(limit), Vec::new(), 0);
            for (item, (last, pops)) in pushes.iter().enumerate() {
                let dropped = queue.push(prefix(*last), item);
                prop_assert_eq!(dropped.is_some(), waiting == limit);
                waiting = (waiting + 1).min(limit);
                out.extend(dropped);
                if *pops {
                    out.push(queue.pop().unwrap());
                    waiting -= 1;
                }
            }
            out.extend(drained(queue));
            out.sort_unstable();
            prop_assert_eq!(out, (0..pushes.len()).collect::<Vec<_>>());
        }
    }
}
