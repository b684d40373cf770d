//! Each rule of sampling.

use super::*;
use crate::cpu::sampling::rank::{self, Key};
use crate::cpu::sampling::row::{Row, counted};

fn drawing() -> Sampling {
    Sampling { temperature: 1.0, seed: 7, ..Sampling::default() }
}

/// The tokens that come at all.
fn kept(logits: &[f32], sampling: &Sampling) -> Vec<usize> {
    let counts = counts(logits, sampling, 400);
    (0..logits.len()).filter(|&token| counts[token] > 0).collect()
}

fn range(count: usize) -> Vec<usize> {
    (0..count).collect()
}

/// Random rows, every rule at random, at every level: the token of the reference.
#[test]
fn every_rule_as_the_reference_has_it() {
    let mut numbers = Numbers::new(1);
    for _ in 0..1500 {
        let most = [8, 100, 700, 5000][numbers.below(4)];
        let vocabulary = 1 + numbers.below(most);
        let logits = any_logits(&mut numbers, vocabulary);
        let sampling = any_sampling(&mut numbers, vocabulary);
        assert_eq!(choose(&logits, &sampling), reference(&logits, &sampling), "{vocabulary} {sampling:?}");
    }
}

#[test]
fn greedy_takes_the_lowest_of_equals() {
    let mut logits = vec![0.0; 1000];
    (logits[300], logits[777], logits[999]) = (2.0, 2.0, 2.0);
    assert_eq!(choose(&logits, &Sampling::default()), 300);
}

#[test]
fn both_zeros_are_equal() {
    assert_eq!(choose(&[-1.0, -0.0, 0.0], &Sampling::default()), 1);
    assert_eq!(kept(&[-1.0, -0.0, 0.0], &Sampling { top_k: 1, ..drawing() }), [1]);
}

#[test]
fn what_is_not_a_number_never_comes() {
    assert_eq!(choose(&[f32::NAN, -3.0, NOTHING], &Sampling::default()), 1);
    assert_eq!(kept(&[f32::NAN, -3.0, NOTHING], &drawing()), [1]);
}

#[test]
fn an_infinite_logit_is_the_greatest_number() {
    let logits = [1.0, f32::INFINITY, f32::MAX, f32::INFINITY];
    assert_eq!(kept(&logits, &drawing()), [1, 2, 3]);
    let answer = &sample(&cpu(1, Level::best()), &[logits.to_vec()], &[Sampling::default()])[0];
    assert_eq!((answer.token, answer.rank), (1, 0));
    assert!((answer.log_probability + 3.0_f32.ln()).abs() < 1e-6);
}

#[test]
fn where_nothing_is_left_the_lowest_allowed_comes() {
    let nothing = vec![NOTHING; 70];
    let mask = Some(vec![0, 0, 0b100_1000]);
    for temperature in [0.0, 1.0] {
        let sampling = Sampling { temperature, top_p: 0.9, ..Sampling::default() };
        assert_eq!(choose(&nothing, &sampling), 0);
        assert_eq!(choose(&[f32::NAN; 70], &sampling), 0);
        assert_eq!(choose(&nothing, &Sampling { mask: mask.clone(), ..sampling.clone() }), 67);
        let forbidden = Sampling { mask: mask.clone(), bias: vec![(67, NOTHING), (70, NOTHING)], ..sampling };
        assert_eq!(choose(&[1.0; 71], &forbidden), 67);
    }
}

#[test]
fn where_nothing_was_there_nothing_is_probable() {
    let asked = Sampling { top_log_probabilities: 2, ..Sampling::default() };
    let answer = &sample(&cpu(1, Level::best()), &[vec![NOTHING; 9]], &[asked])[0];
    let expected = Answer { token: 0, log_probability: NOTHING, rank: 0, top: vec![(0, NOTHING), (1, NOTHING)] };
    assert_eq!(*answer, expected);
}

#[test]
fn one_finite_logit_always_comes() {
    let mut logits = vec![NOTHING; 3000];
    logits[2345] = -80.0;
    for (top_k, top_p, min_p) in [(0, 1.0, 0.0), (40, 1.0, 0.0), (0, 0.9, 0.0), (3000, 1e-9, 1.0)] {
        assert_eq!(kept(&logits, &Sampling { top_k, top_p, min_p, ..drawing() }), [2345]);
    }
}

#[test]
fn top_k_keeps_the_lowest_of_equals() {
    let logits = [1.0, 0.5, 1.0, 0.5, 0.5];
    assert_eq!(kept(&logits, &Sampling { top_k: 3, ..drawing() }), [0, 1, 2]);
    assert_eq!(kept(&vec![0.0; 5000], &Sampling { top_k: 3, ..drawing() }), range(3));
}

#[test]
fn top_k_beyond_the_vocabulary_keeps_all() {
    for top_k in [5, 6, u32::MAX] {
        assert_eq!(kept(&[0.0; 5], &Sampling { top_k, ..drawing() }), range(5));
    }
}

#[test]
fn top_p_on_a_boundary_stops_there() {
    let mut logits = [0.0; 12];
    (logits[10], logits[11]) = (NOTHING, NOTHING);
    for (top_p, count) in [(0.1, 1), (0.11, 2), (0.3, 3), (0.5, 5), (0.7, 7), (0.999, 10)] {
        assert_eq!(kept(&logits, &Sampling { top_p, ..drawing() }), range(count), "{top_p}");
    }
}

/// Half of a whole vocabulary of equals: far beyond the near tokens, and cut by id.
#[test]
fn top_p_of_equals_is_cut_by_id() {
    let logits = vec![1.5; 4096];
    let sampling = Sampling { top_p: 0.5, ..drawing() };
    let counts = counts(&logits, &sampling, 4000);
    assert!(counts[2048..].iter().all(|&count| count == 0));
    assert!(counts[1792..2048].iter().sum::<usize>() > 400);
}

/// Of the four that `top_k` keeps, two make a half; without it there would be more.
#[test]
fn top_p_is_of_what_top_k_keeps() {
    assert_eq!(kept(&[0.0; 1000], &Sampling { top_k: 4, top_p: 0.5, ..drawing() }), range(2));
}

#[test]
fn top_p_never_brings_back_what_top_k_cut() {
    let top_p = 1.0_f32.next_down();
    assert_eq!(kept(&[0.0; 1000], &Sampling { top_k: 3, top_p, ..drawing() }), range(3));
}

#[test]
fn min_p_keeps_equals_and_its_own_boundary() {
    assert_eq!(kept(&[2.0, 1.0, 2.0], &Sampling { min_p: 1.0, ..drawing() }), [0, 2]);
    let half = -std::f32::consts::LN_2;
    assert_eq!(kept(&[0.0, half, half.next_down()], &Sampling { min_p: 0.5, ..drawing() }), [0, 1]);
}

#[test]
fn penalties_by_hand() {
    let seen = |token, in_prompt, in_output| Seen { token, in_prompt, in_output };
    let penalties = Sampling {
        repetition_penalty: 2.0,
        presence_penalty: 0.5,
        frequency_penalty: 0.25,
        seen: vec![seen(0, true, 0), seen(1, false, 2), seen(2, true, 3), seen(4, false, 0)],
        ..Sampling::default()
    };
    // 4/2 = 2; -1*2 - 0.5 - 2*0.25 = -3; 8/2 - 0.5 - 3*0.25 = 2.75; untouched 3; not seen at all 2.5.
    penalized_are(&penalties, [2.0, -3.0, 2.75, 3.0, 2.5]);
    // Token 2 is seen once more: 8/2 - 0.5 - 4*0.25 = 2.5.
    penalized_are(&Sampling { counts_own: true, ..penalties.clone() }, [2.0, -3.0, 2.5, 3.0, 2.5]);
    // For the first time, in the prompt only, and not in the list at all: 8/2 - 0.5 - 0.25 = 3.25.
    for first in [vec![seen(2, false, 0)], vec![seen(2, true, 0)], vec![]] {
        let counts = Sampling { seen: first, counts_own: true, ..penalties.clone() };
        penalized_are(&counts, [4.0, -1.0, 3.25, 3.0, 2.5]);
    }
}

/// Logits of five tokens by hand, each compared with a token of a known logit, just below and just above it.
fn penalized_are(penalties: &Sampling, after: [f32; 5]) {
    let before = [4.0, -1.0, 8.0, 3.0, 2.5];
    for (cut, penalized) in after.into_iter().enumerate() {
        for (other, expected) in [(penalized - 0.001, cut), (penalized + 0.001, 5)] {
            let logits: Vec<f32> = before.iter().copied().chain([other]).collect();
            let only: u32 = 1 << cut | 1 << 5;
            let sampling = Sampling { mask: Some(vec![only]), ..penalties.clone() };
            assert_eq!(choose(&logits, &sampling), expected, "token {cut} against {other}");
        }
    }
}

#[test]
fn biases_and_masks_forbid() {
    let logits = [5.0, 4.0, 3.0, 2.0];
    let bias = vec![(0, NOTHING), (3, 3.0)];
    assert_eq!(choose(&logits, &Sampling { bias: bias.clone(), ..Sampling::default() }), 3);
    let masked = Sampling { bias, mask: Some(vec![0b0110]), ..drawing() };
    assert_eq!(kept(&logits, &masked), [1, 2]);
}

#[test]
fn a_temperature_near_zero_is_greedy() {
    for temperature in [f32::from_bits(1), f32::MIN_POSITIVE, 1e-6] {
        assert_eq!(kept(&[1.0, 1.001, 0.0], &Sampling { temperature, ..drawing() }), [1]);
    }
}

#[test]
fn a_great_temperature_makes_all_alike() {
    assert_eq!(kept(&[-50.0, 1.0, NOTHING], &Sampling { temperature: f32::MAX, ..drawing() }), [0, 1]);
}

/// Chi-square of 20,000 draws over 20 tokens: below 43.8 in 999 cases of 1,000 where probabilities are right.
#[test]
fn frequencies_are_probabilities() {
    let draws = 20_000;
    let logits = Numbers::new(3).normals(20, 1.0);
    for temperature in [0.5, 1.0, 2.0] {
        let counts = counts(&logits, &Sampling { temperature, ..drawing() }, draws);
        let weights: Vec<f64> = logits.iter().map(|&logit| f64::from(logit / temperature).exp()).collect();
        let total: f64 = weights.iter().sum();
        let squares = counts.iter().zip(&weights).map(|(&count, weight)| {
            let expected = draws as f64 * weight / total;
            (count as f64 - expected).powi(2) / expected
        });
        let chi_square: f64 = squares.sum();
        assert!(chi_square < 43.8, "{chi_square} at {temperature}");
    }
}

/// Draws of two seeds, or of neighbouring positions, agree as often as chance has it: one in four, of 4,000.
#[test]
fn seeds_and_draws_are_independent() {
    let rows = |seed: u64, from: u64| -> Vec<Sampling> {
        (from..from + 4000).map(|draw| Sampling { seed, draw, ..drawing() }).collect()
    };
    let cpu = cpu(1, Level::best());
    let tokens = |rows: &[Sampling]| -> Vec<u32> {
        sample(&cpu, &vec![vec![0.0; 4]; 4000], rows).into_iter().map(|answer| answer.token).collect()
    };
    let first = tokens(&rows(1, 0));
    assert_eq!(first, tokens(&rows(1, 0)));
    for other in [tokens(&rows(2, 0)), tokens(&rows(1, 1)), tokens(&rows(1 << 32, 0)), tokens(&rows(1, 1 << 32))] {
        let same = first.iter().zip(&other).filter(|(a, b)| a == b).count();
        assert!((900..1100).contains(&same), "{same}");
    }
}

/// Log-probabilities and ranks are those of the logits as given, whatever chose the token.
#[test]
fn log_probabilities_are_of_what_was_given() {
    let mut numbers = Numbers::new(5);
    for vocabulary in [1, 7, 255, 256, 257, 3001, 20_000] {
        let logits = numbers.normals(vocabulary, 2.0);
        let sampling = Sampling {
            bias: vec![(vocabulary as u32 / 2, 1000.0)],
            top_log_probabilities: vocabulary.min(8) as u32,
            ..Sampling::default()
        };
        let token = vocabulary / 2;
        let sum: f64 = logits.iter().map(|&logit| f64::from(logit).exp()).sum();
        let said = |token: usize| (f64::from(logits[token]) - sum.ln()) as f32;
        let mut ranked: Vec<usize> = (0..vocabulary).collect();
        ranked.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
        for level in Level::available() {
            let answer = &sample(&cpu(1, level), std::slice::from_ref(&logits), std::slice::from_ref(&sampling))[0];
            assert_eq!(answer.token as usize, token);
            assert_eq!(answer.rank as usize, logits.iter().filter(|&&logit| logit > logits[token]).count());
            assert!((answer.log_probability - said(token)).abs() < 1e-5);
            for ((found, log_probability), expected) in answer.top.iter().zip(&ranked) {
                assert_eq!(*found as usize, *expected);
                assert!((log_probability - said(*expected)).abs() < 1e-5);
            }
        }
    }
}

#[test]
fn the_top_are_ordered_by_id_where_equal() {
    let mut logits = vec![0.0; 600];
    (logits[599], logits[40], logits[300]) = (1.0, 1.0, f32::NAN);
    let sampling = Sampling { top_log_probabilities: 5, ..Sampling::default() };
    let answer = &sample(&cpu(1, Level::best()), &[logits], &[sampling])[0];
    assert_eq!(answer.top.iter().map(|(token, _)| *token).collect::<Vec<_>>(), [40, 599, 0, 1, 2]);
}

/// A row alone, and the same row among others on two threads, is the same to the bit.
#[test]
fn a_row_is_the_same_in_a_crowd() {
    let mut numbers = Numbers::new(11);
    let vocabulary = 4001;
    let logits: Vec<Vec<f32>> = (0..40).map(|_| any_logits(&mut numbers, vocabulary)).collect();
    let rows: Vec<Sampling> =
        (0..40).map(|_| Sampling { top_log_probabilities: 3, ..any_sampling(&mut numbers, vocabulary) }).collect();
    for level in Level::available() {
        let crowd = sample(&cpu(2, level), &logits, &rows);
        for row in 0..rows.len() {
            let alone = sample(&cpu(1, level), &logits[row..=row], &rows[row..=row]);
            assert_eq!(format!("{:?}", alone[0]), format!("{:?}", crowd[row]));
        }
    }
}

/// A place in rank is found without sorting; here beside a sort, near and far, in a vocabulary of many tiles.
#[test]
fn ranks_are_those_of_a_sort() {
    let (mut numbers, vocabulary) = (Numbers::new(13), 70_001);
    let mut keys = Vec::new();
    for _ in 0..12 {
        let logits = any_logits(&mut numbers, vocabulary);
        let mut sorted: Vec<Key> = (0..).zip(&logits).map(|(token, &logit)| Key::new(counted(logit), token)).collect();
        sorted.sort_unstable();
        for level in Level::available() {
            let mut peaks = Vec::new();
            let row = Row::new(level, &logits, &mut peaks);
            for count in [1, 2, 50, 273, 274, 275, 5000, 50_000, vocabulary - 1] {
                assert_eq!(rank::nth(&row, count, &mut keys), sorted[count - 1], "{level} {count}");
            }
            assert_eq!(rank::nth(&row, vocabulary, &mut keys), Key::LAST);
            rank::first(&row, 64, &mut keys);
            assert_eq!(keys, sorted[..64]);
        }
    }
}

#[test]
fn keys_order_by_logit_then_by_id() {
    let logits = [f32::MAX, 1.5, f32::MIN_POSITIVE, 1e-45, 0.0, -1e-45, -1.5, f32::MIN, NOTHING];
    let keys: Vec<Key> = logits.iter().flat_map(|&logit| [Key::new(logit, 0), Key::new(logit, u32::MAX)]).collect();
    assert!(keys.is_sorted_by(|a, b| a < b));
    assert!(keys.chunks_exact(2).zip(logits).all(|(pair, logit)| pair[0].logit() == logit && pair[0].token() == 0));
    assert_eq!(Key::new(-0.0, 3), Key::new(0.0, 3));
}
