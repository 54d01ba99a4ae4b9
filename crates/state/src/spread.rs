//! The same work on many things, on all cores.
//!
//! What comes of the things stays in their order, however many threads there are.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc;
use std::thread::Scope;

use crate::StateError;

/// How many threads can run at the same time.
pub(crate) fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, usize::from)
}

/// Does the same with each of many things, on all cores if they are more than `alone_max`.
pub(crate) fn each<T: Send, R: Send>(
    things: Vec<T>,
    alone_max: usize,
    work: impl Fn(T) -> Result<Option<R>, StateError> + Sync,
) -> Result<Vec<R>, StateError> {
    let threads = if things.len() > alone_max { cores() } else { 1 };
    let share = things.len().div_ceil(threads).max(1);
    let run = |things: Vec<T>| -> Result<Vec<R>, StateError> {
        things.into_iter().filter_map(|thing| work(thing).transpose()).collect()
    };
    let mut rest = things;
    std::thread::scope(|scope| {
        let mut others = Vec::new();
        while rest.len() > share {
            let last = rest.split_off(rest.len() - share);
            others.push(scope.spawn(|| run(last)));
        }
        let mut done = run(rest)?;
        for other in others.into_iter().rev() {
            done.append(&mut other.join().map_err(lost)??);
        }
        Ok(done)
    })
}

fn lost<E>(_: E) -> StateError {
    StateError::Engine("a thread failed".to_owned())
}

/// Many things of which something is made ahead of who takes it, in their order.
pub(crate) struct Ahead<'t, T> {
    /// As many as are worked on in one go.
    parts: Vec<&'t [T]>,
    begun: Vec<AtomicBool>,
}

impl<'t, T: Sync> Ahead<'t, T> {
    pub(crate) fn of(things: &'t [T], at_once: usize) -> Self {
        let parts: Vec<&[T]> = things.chunks(at_once).collect();
        let begun = parts.iter().map(|_| AtomicBool::new(false)).collect();
        Self { parts, begun }
    }

    /// Who is first to say so makes it.
    fn begin(&self, number: usize) -> bool {
        !self.begun[number].swap(true, Ordering::Relaxed)
    }

    /// Gives `take` each thing with what `work` makes of it. Helpers work ahead; this thread works itself
    /// where nobody has begun to. When there is nothing left to begin, helpers go on with `then`.
    pub(crate) fn run<'scope, 'env, S: Default, R: Send + 'scope>(
        &'env self,
        scope: &'scope Scope<'scope, 'env>,
        helpers: usize,
        work: &'env (impl Fn(&mut S, &T) -> R + Sync),
        then: &'env (impl Fn() + Sync),
        mut take: impl FnMut(&T, R) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let (done, results) = mpsc::channel();
        for _ in 0..helpers {
            let done = done.clone();
            scope.spawn(move || {
                let mut own = S::default();
                for number in (0..self.parts.len()).filter(|number| self.begin(*number)) {
                    let things = self.parts[number].iter();
                    let made: Vec<R> = things.map(|thing| work(&mut own, thing)).collect();
                    if done.send((number, made)).is_err() {
                        break;
                    }
                }
                // Whoever waits for a result must see that there comes none any more.
                drop(done);
                then();
            });
        }
        drop(done);
        let (mut own, mut early) = (S::default(), BTreeMap::new());
        for (number, part) in self.parts.iter().enumerate() {
            if self.begin(number) {
                for thing in *part {
                    take(thing, work(&mut own, thing))?;
                }
                continue;
            }
            let made = loop {
                if let Some(made) = early.remove(&number) {
                    break made;
                }
                let (other, made) = results.recv().map_err(lost)?;
                early.insert(other, made);
            };
            part.iter().zip(made).try_for_each(|(thing, made)| take(thing, made))?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_stays_and_nothing_is_left_out() {
        for count in [0, 1, 7, 8, 9, 100, 101] {
            let done =
                each((0..count).collect(), 8, |thing| Ok((thing % 3 != 0).then_some(thing * 2)));
            let wanted: Vec<usize> = (0..count).filter(|n| n % 3 != 0).map(|n| n * 2).collect();
            assert_eq!(done.unwrap(), wanted);
        }
    }

    #[test]
    fn a_fault_anywhere_is_told() {
        for wrong in 0..100 {
            let done = each((0..100).collect(), 8, |thing| match thing {
                thing if thing == wrong => Err(StateError::Engine("wrong".to_owned())),
                thing => Ok(Some(thing)),
            });
            done.unwrap_err();
        }
    }

    /// What is taken, with a stop at one of the things, and how many helpers came to the end.
    fn taken(count: usize, at_once: usize, helpers: usize, stop: usize) -> (Vec<usize>, usize) {
        let things: Vec<usize> = (0..count).collect();
        let (ahead, mut taken) = (Ahead::of(&things, at_once), Vec::new());
        let ended = std::sync::atomic::AtomicUsize::new(0);
        let work = |own: &mut usize, thing: &usize| {
            *own += 1;
            thing * 2
        };
        let then = || {
            ended.fetch_add(1, Ordering::Relaxed);
        };
        let result = std::thread::scope(|scope| {
            ahead.run(scope, helpers, &work, &then, |thing, made| {
                assert_eq!(made, thing * 2);
                taken.push(*thing);
                if *thing == stop { Err(StateError::Engine("stop".to_owned())) } else { Ok(()) }
            })
        });
        assert_eq!(result.is_err(), stop < count);
        (taken, ended.into_inner())
    }

    #[test]
    fn what_others_made_ahead_is_taken_in_order() {
        for count in [0, 1, 15, 16, 17, 100, 1_000] {
            for at_once in [1, 7, 64] {
                for helpers in [0, 1, 3] {
                    let found = taken(count, at_once, helpers, usize::MAX);
                    assert_eq!(found, ((0..count).collect(), helpers));
                }
            }
        }
    }

    #[test]
    fn who_takes_may_stop() {
        for stop in 0..100 {
            assert_eq!(taken(100, 4, 2, stop), ((0..=stop).collect(), 2));
        }
    }
}
