//! The output of steps that run at the same time.

use std::sync::{Mutex, MutexGuard};

use crate::process::Source;

/// The output of steps that run at the same time, printed as if they ran one after the other. The output of the
/// first step that has not ended is printed as it comes. The output of the others waits for their turn.
pub struct Turns<P> {
    state: Mutex<State>,
    print: P,
}

struct State {
    turn: usize,
    /// For each step, the lines that wait and whether the step has ended.
    steps: Vec<(Vec<(Source, String)>, bool)>,
}

impl<P: Fn(Source, &str)> Turns<P> {
    pub fn new(count: usize, print: P) -> Self {
        let steps = (0..count).map(|_| Default::default()).collect();
        Self {
            state: Mutex::new(State { turn: 0, steps }),
            print,
        }
    }

    pub fn say(&self, step: usize, source: Source, line: &str) {
        let mut state = lock(&self.state);
        if state.turn == step {
            (self.print)(source, line);
        } else {
            state.steps[step].0.push((source, line.to_owned()));
        }
    }

    pub fn end(&self, step: usize) {
        let mut state = lock(&self.state);
        state.steps[step].1 = true;
        let State { turn, steps } = &mut *state;
        while steps.get(*turn).is_some_and(|(_, ended)| *ended) {
            *turn += 1;
            let waiting = steps.get_mut(*turn).map(|(lines, _)| lines);
            for (source, line) in waiting.into_iter().flat_map(|lines| lines.drain(..)) {
                (self.print)(source, &line);
            }
        }
    }
}

/// Locks the mutex, also if another thread has panicked while holding it: that panic ends the run anyway.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(|e| e.into_inner())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_output_of_steps_is_printed_in_their_order() {
        let printed = std::cell::RefCell::new(Vec::new());
        let turns = Turns::new(3, |_, line: &str| {
            printed.borrow_mut().push(line.to_owned())
        });
        let say = |step, line| turns.say(step, Source::Stdout, line);
        say(1, "b");
        say(0, "a");
        assert_eq!(*printed.borrow(), ["a"]);
        turns.end(1);
        say(2, "c");
        assert_eq!(*printed.borrow(), ["a"]);
        turns.end(0);
        say(2, "d");
        turns.end(2);
        assert_eq!(*printed.borrow(), ["a", "b", "c", "d"]);
    }
}
