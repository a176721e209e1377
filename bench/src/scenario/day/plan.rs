//! What users do and when: made up from a seed before anything is sent, so that the same day can be lived through the edge
//! and without it, and so that a late answer delays no other request.

use std::time::Duration;

use fastrand::Rng;

/// A kind of request, or of waiting.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Kind {
    /// All that both ways have, together. Nobody plans it: each of these counts for it, too.
    All,
    /// Gets a token; through the edge, it opens the live connection with it.
    Login,
    /// The page that is composed of four services and a view.
    Overview,
    /// The list of one's batches.
    Batches,
    /// One of them.
    Batch,
    /// One's rows of the view, the newest first.
    Dashboard,
    /// A new batch.
    Register,
    /// A file.
    Upload,
    /// The same file again.
    Download,
    /// Marks of a batch.
    Results,
    /// From the registration to its event on the live connection; nobody plans it, it follows from [`Kind::Register`].
    Event,
}

/// All kinds and their names, in the order of figures.
pub(super) const KINDS: [(Kind, &str); 11] = [
    (Kind::All, "all requests"),
    (Kind::Login, "log in"),
    (Kind::Overview, "overview"),
    (Kind::Batches, "list"),
    (Kind::Batch, "one batch"),
    (Kind::Dashboard, "view"),
    (Kind::Register, "register"),
    (Kind::Upload, "upload"),
    (Kind::Download, "download"),
    (Kind::Results, "results"),
    (Kind::Event, "live event"),
];

/// What is done how often, in percent.
const MIX: [(Kind, u32); 8] = [
    (Kind::Overview, 40),
    (Kind::Batches, 15),
    (Kind::Batch, 15),
    (Kind::Dashboard, 10),
    (Kind::Register, 5),
    (Kind::Upload, 5),
    (Kind::Download, 5),
    (Kind::Results, 5),
];
/// Everybody begins with these, so that there is something to look at.
const FIRST: [Kind; 3] = [Kind::Login, Kind::Register, Kind::Upload];
/// The pause between these.
const FIRST_PAUSE: Duration = Duration::from_millis(300);
/// Results are for people who look at them: routes.yaml allows two a second.
const RESULTS_PAUSE: Duration = Duration::from_secs(1);

/// The times, counted from the begin, of what each user does: sorted, users by their number.
pub(super) fn plan(
    users: usize,
    arrive: Duration,
    think: Duration,
    end: Duration,
    seed: u64,
) -> Vec<(Duration, (usize, Kind))> {
    let mut plan = Vec::new();
    for user in 0..users {
        let mut rng = Rng::with_seed(seed.wrapping_mul(1_000_003).wrapping_add(user as u64));
        let mut at = arrive.mul_f64(rng.f64());
        for kind in FIRST {
            plan.push((at, (user, kind)));
            at += FIRST_PAUSE;
        }
        let mut results_from = at;
        at += pause(&mut rng, think);
        while at < end {
            let mut kind = choose(&mut rng);
            if kind == Kind::Results {
                if at < results_from {
                    kind = Kind::Overview;
                } else {
                    results_from = at + RESULTS_PAUSE;
                }
            }
            plan.push((at, (user, kind)));
            at += pause(&mut rng, think);
        }
    }
    plan.sort_by_key(|(at, _)| *at);
    plan
}

/// Exponential, as of many people who do not know of each other.
fn pause(rng: &mut Rng, mean: Duration) -> Duration {
    mean.mul_f64(-(1.0 - rng.f64()).ln())
}

fn choose(rng: &mut Rng) -> Kind {
    let mut percent = rng.u32(0..100);
    for (kind, share) in MIX {
        if percent < share {
            return kind;
        }
        percent -= share;
    }
    Kind::Overview
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plan_is_the_same_for_a_seed_and_keeps_to_the_mix() {
        let make =
            |seed| plan(50, Duration::from_secs(2), Duration::from_secs(1), Duration::from_secs(200), seed);
        let made = make(7);
        assert_eq!(made, make(7));
        assert_ne!(made, make(8));
        assert!(made.is_sorted_by_key(|(at, _)| *at));
        let count = |kind| made.iter().filter(|(_, (_, is))| *is == kind).count() as f64;
        assert_eq!(count(Kind::Login), 50.0);
        // 50 users for 200 seconds, one thing a second: within a few standard deviations.
        assert!((9000.0..11000.0).contains(&(made.len() as f64)));
        assert!((0.37..0.45).contains(&(count(Kind::Overview) / made.len() as f64)));
        assert!((0.04..0.065).contains(&(count(Kind::Upload) / made.len() as f64)));
    }

    #[test]
    fn nobody_asks_for_what_is_not_there_yet_nor_for_results_too_often() {
        let made = plan(20, Duration::from_secs(1), Duration::from_millis(50), Duration::from_secs(20), 1);
        for user in 0..20 {
            let of_user: Vec<_> = made.iter().filter(|(_, (is, _))| *is == user).collect();
            assert_eq!(of_user[..3].iter().map(|(_, (_, kind))| *kind).collect::<Vec<_>>(), FIRST);
            let results: Vec<_> =
                of_user.iter().filter(|(_, (_, kind))| *kind == Kind::Results).map(|(at, _)| *at).collect();
            assert!(results.windows(2).all(|two| two[1] - two[0] >= RESULTS_PAUSE));
        }
    }
}
