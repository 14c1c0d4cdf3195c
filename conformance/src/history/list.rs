//! Numbers in a fixed order, to be taken out and put back in the opposite order.

/// The numbers below some count in an order of their own; what is taken out is put back last in, first out.
pub(super) struct List {
    next: Vec<usize>,
    previous: Vec<usize>,
}

impl List {
    /// `order` has each number below `end` at most once.
    pub(super) fn new(order: impl IntoIterator<Item = usize>, end: usize) -> Self {
        let mut list = Self { next: vec![end; end + 1], previous: vec![end; end + 1] };
        let mut last = end;
        for number in order {
            (list.next[last], list.previous[number]) = (number, last);
            last = number;
        }
        (list.next[last], list.previous[end]) = (end, last);
        list
    }

    pub(super) fn first(&self) -> Option<usize> {
        self.after(self.next.len() - 1)
    }

    /// What follows `number`, which is in the list.
    pub(super) fn after(&self, number: usize) -> Option<usize> {
        Some(self.next[number]).filter(|next| *next + 1 < self.next.len())
    }

    pub(super) fn take_out(&mut self, number: usize) {
        let (previous, next) = (self.previous[number], self.next[number]);
        (self.next[previous], self.previous[next]) = (next, previous);
    }

    /// Puts back what was taken out last and is not back yet.
    pub(super) fn put_back(&mut self, number: usize) {
        let (previous, next) = (self.previous[number], self.next[number]);
        (self.next[previous], self.previous[next]) = (number, number);
    }
}
