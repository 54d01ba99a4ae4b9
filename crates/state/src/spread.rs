//! The same work on many things, on all cores.
//!
//! What comes of the things stays in their order, however many threads there are.

use crate::StateError;

/// Does the same with each of many things, on all cores if they are more than `alone_max`.
pub(crate) fn each<T: Send, R: Send>(
    things: Vec<T>,
    alone_max: usize,
    work: impl Fn(T) -> Result<Option<R>, StateError> + Sync,
) -> Result<Vec<R>, StateError> {
    each_with(things, alone_max, &mut Vec::new(), |(), thing| work(thing))
}

/// As [`each`], where each thread has something of its own, which is kept for the next time.
pub(crate) fn each_with<T: Send, S: Default + Send, R: Send>(
    things: Vec<T>,
    alone_max: usize,
    own: &mut Vec<S>,
    work: impl Fn(&mut S, T) -> Result<Option<R>, StateError> + Sync,
) -> Result<Vec<R>, StateError> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let threads = if things.len() > alone_max { cores } else { 1 };
    own.resize_with(threads.max(own.len()), S::default);
    let Some((own, spare)) = own.split_first_mut() else { return Ok(Vec::new()) };
    let share = things.len().div_ceil(threads);
    let run = |own: &mut S, things: Vec<T>| -> Result<Vec<R>, StateError> {
        things.into_iter().filter_map(|thing| work(own, thing).transpose()).collect()
    };
    let (mut rest, mut spare) = (things, spare.iter_mut());
    std::thread::scope(|scope| {
        let mut others = Vec::new();
        while rest.len() > share {
            let Some(own) = spare.next() else { break };
            let last = rest.split_off(rest.len() - share);
            others.push(scope.spawn(|| run(own, last)));
        }
        let mut done = run(own, rest)?;
        for other in others.into_iter().rev() {
            let lost = |_| StateError::Engine("a thread failed".to_owned());
            done.append(&mut other.join().map_err(lost)??);
        }
        Ok(done)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_stays_and_nothing_is_left_out() {
        for count in [0, 1, 7, 8, 9, 100, 101] {
            let mut own: Vec<usize> = Vec::new();
            let done = each_with((0..count).collect(), 8, &mut own, |own, thing| {
                *own += 1;
                Ok((thing % 3 != 0).then_some(thing * 2))
            });
            let wanted: Vec<usize> = (0..count).filter(|n| n % 3 != 0).map(|n| n * 2).collect();
            assert_eq!(done.unwrap(), wanted);
            assert_eq!(own.iter().sum::<usize>(), count);
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
}
