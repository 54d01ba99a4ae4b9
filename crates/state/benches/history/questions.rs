//! Questions about random points, one after the other, the same to each subject, and whether the
//! answers are the same.

use std::time::Duration;

use stele_store::{Clock, SystemClock};

use crate::Fault;
use crate::generator::{Generator, Random};
use crate::peers::{Answer, Asked, Of, Subject};

/// Kinds of questions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Question {
    Namespace,
    PodsBare,
    PodsWhole,
    Address,
    AddressServices,
}

impl Question {
    pub(crate) const ALL: [Self; 5] =
        [Self::Namespace, Self::PodsBare, Self::PodsWhole, Self::Address, Self::AddressServices];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Namespace => "namespace, whole",
            Self::PodsBare => "pods, bare",
            Self::PodsWhole => "pods, whole",
            Self::Address => "pod by address",
            Self::AddressServices => "  with services",
        }
    }

    fn times(self, questions: usize) -> usize {
        match self {
            Self::Namespace => questions,
            Self::PodsBare | Self::PodsWhole => questions.min(50),
            Self::Address | Self::AddressServices => questions * 20,
        }
    }
}

/// A time, a namespace and an address, for one question.
pub(crate) struct Chance {
    at: i64,
    namespace: String,
    address: String,
}

/// How long the answers to one kind of question took, and how much they held.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Figures {
    pub(crate) answers: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
}

/// How much was in the answers of one subject to one kind of question, one by one.
pub(crate) type Digests = Vec<(usize, u64)>;

/// What is asked about in a round.
pub(crate) fn chances(generator: &Generator, questions: usize, seed: u64) -> Vec<Chance> {
    let mut random = Random(seed.wrapping_mul(77) | 1);
    let (from, to) = generator.times();
    let (namespaces, addresses) = (generator.namespaces(), generator.addresses());
    let chance = || Chance {
        at: random.within(from + (to - from) / 20, to),
        namespace: namespaces[random.within(0, namespaces.len() as i64) as usize].clone(),
        address: addresses[random.within(0, addresses.len() as i64) as usize].clone(),
    };
    std::iter::repeat_with(chance).take(questions * 20).collect()
}

/// Asks one subject one kind of question; nothing if it can't be asked that.
pub(crate) fn ask(
    subject: &mut dyn Subject,
    question: Question,
    chances: &[Chance],
) -> Result<Option<(Figures, Digests)>, Fault> {
    let clock = SystemClock::default();
    let (mut waits, mut digests) = (Vec::new(), Digests::new());
    for chance in &chances[..question.times(chances.len() / 20)] {
        let begin = clock.monotonic();
        let answer = answer(subject, question, chance)?;
        waits.push(clock.monotonic() - begin);
        let Some(answer) = answer else { return Ok(None) };
        digests.push(answer.digest());
    }
    waits.sort_unstable();
    let at = |share: f64| {
        let wait = waits.get(((waits.len().max(1) - 1) as f64 * share) as usize);
        wait.map_or(f64::NAN, Duration::as_secs_f64) * 1e3
    };
    let answers = digests.iter().map(|(count, _)| count).sum::<usize>();
    let answers = answers as f64 / digests.len() as f64;
    Ok(Some((Figures { answers, p50_ms: at(0.5), p99_ms: at(0.99) }, digests)))
}

fn answer(
    subject: &mut dyn Subject,
    question: Question,
    chance: &Chance,
) -> Result<Option<Answer>, Fault> {
    let mut list = |of: Of, bare: bool| subject.list(&Asked { of, at: chance.at, bare }).map(Some);
    match question {
        Question::Namespace => list(Of::Namespace(chance.namespace.clone()), false),
        Question::PodsBare => list(Of::Pods, true),
        Question::PodsWhole => list(Of::Pods, false),
        Question::Address => subject.holders(&chance.address, chance.at).map(Some),
        Question::AddressServices => subject.services(&chance.address, chance.at),
    }
}

/// An error that shows the first answer that is another.
pub(crate) fn same(
    question: Question,
    name: &str,
    expected: &Digests,
    got: &Digests,
    chances: &[Chance],
) -> Result<(), Fault> {
    let other = expected.iter().zip(got).zip(chances).find(|((expected, got), _)| expected != got);
    let Some(((expected, got), chance)) = other else { return Ok(()) };
    Err(format!(
        "{}: {name} answers something else at {} (namespace {}, address {}): {} of it, not {}",
        question.name().trim(),
        chance.at,
        chance.namespace,
        chance.address,
        got.0,
        expected.0
    )
    .into())
}
