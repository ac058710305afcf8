//! A list whose elements keep their memory when it is filled again.

/// A list that is filled repeatedly. Heap memory of an element is reused by the next element in its place.
#[derive(Debug)]
pub struct Pool<T> {
    items: Vec<T>,
    length: usize,
}

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Self {
            items: Vec::new(),
            length: 0,
        }
    }
}

impl<T: Default> Pool<T> {
    /// Empties the list.
    pub fn clear(&mut self) {
        self.length = 0;
    }

    /// Lets `fill` overwrite a former element, and keeps the result if it returns true.
    pub fn push_with(&mut self, fill: impl FnOnce(&mut T) -> bool) {
        if self.length == self.items.len() {
            self.items.push(T::default());
        }
        if self.items.get_mut(self.length).is_some_and(fill) {
            self.length += 1;
        }
    }

    /// The elements.
    pub fn as_slice(&self) -> &[T] {
        self.items.get(..self.length).unwrap_or_default()
    }

    /// The elements, mutable.
    pub fn as_mut_slice(&mut self) -> &mut [T] {
        self.items.get_mut(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn elements_are_written_over_and_refused_ones_are_not_there() {
        let mut pool: Pool<Vec<u8>> = Pool::default();
        let fill = |text: &'static [u8]| {
            move |item: &mut Vec<u8>| {
                item.clear();
                item.extend_from_slice(text);
                !text.is_empty()
            }
        };
        for text in [b"a".as_slice(), b"", b"bb"] {
            pool.push_with(fill(text));
        }
        assert_eq!(pool.as_slice(), [b"a".to_vec(), b"bb".to_vec()]);
        pool.clear();
        assert!(pool.as_slice().is_empty() && pool.as_mut_slice().is_empty());
        pool.push_with(fill(b"c"));
        assert_eq!(pool.as_slice(), [b"c".to_vec()]);
    }
}
