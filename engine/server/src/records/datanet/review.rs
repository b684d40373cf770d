//! `loam datanet review`: somebody looks at another's work, and says how sure they are of what they found.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use clap::Args;
use loam_datanet::shown::{percent, short};
use loam_ledger_core::record::{Act, ContributorId, MILLION, Millionths, RecordId, Review as Found, Verdict};
use serde_json::json;

use crate::records::book::Book;
use crate::records::names;
use crate::records::{Said, Signing};

#[derive(Args)]
pub(crate) struct Review {
    #[command(flatten)]
    signing: Signing,
    /// The contribution, by its id or the beginning of it. Not your own.
    contribution: String,
    /// Take it, take it when something is changed, or do not take it.
    #[arg(long, value_parser = ["accept", "change", "reject"])]
    verdict: String,
    /// How sure you are, from 0 to 1.
    #[arg(long, value_name = "0..1", default_value = "1", value_parser = parse_probability)]
    probability: Millionths,
    /// Why, in your words.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Say it as one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(review: &Review) -> anyhow::Result<()> {
    let mut pen = review.signing.open()?;
    let target = find_contribution(&*pen.book, &review.contribution)?;
    let verdict = Verdict::ALL.iter().copied().find(|verdict| verdict.word() == review.verdict);
    let verdict = verdict.context("clap takes no other verdicts")?;
    check_others_work(&*pen.book, &target, &pen.file.contributor())?;
    let act = Act::Review(Found { target, verdict, probability: review.probability });
    let at = pen.say(Said { text: review.reason.clone(), ..act.into() })?.at;
    if review.json {
        println!(
            "{}",
            json!({
                "review": at.id.to_hex(), "entry": at.index, "contribution": target.to_hex(),
                "verdict": verdict.word(), "probability_millionths": review.probability,
            })
        );
    } else {
        println!("review {}, entry {}", at.id, at.index);
        println!("  {} {} of contribution {}", verdict.word(), percent(review.probability), short(&target));
        if verdict == Verdict::Accept {
            println!("next: an owner of the dataset makes a revision of it: loam datanet commit");
        }
    }
    pen.book.close()
}

/// Said before anything is signed, in other words than the rule's.
fn check_others_work(book: &dyn Book, target: &RecordId, reviewer: &ContributorId) -> anyhow::Result<()> {
    let (registry, people) = (book.registry(), book.registry().people());
    let contribution = registry.datasets().contribution(target).with_context(|| format!("no contribution {target}"))?;
    let mut makers = contribution.authors.iter().map(|author| author.contributor).chain(contribution.attested_for);
    if makers.any(|maker| people.standing(&maker) == people.standing(reviewer)) {
        bail!("contribution {} is your own work: somebody else reviews it", short(target));
    }
    Ok(())
}

/// The contribution that somebody calls by its id, to whatever dataset.
pub(super) fn find_contribution(book: &dyn Book, word: &str) -> anyhow::Result<RecordId> {
    let datasets = book.registry().datasets();
    let all = datasets.all().flat_map(|(dataset, _)| datasets.contributions_to(dataset)).map(|(id, _)| *id);
    names::one_of(word, all, "contributions")
}

/// A review that was recorded.
pub(super) struct Recorded {
    /// Where it lies in the log.
    pub(super) index: u64,
    /// Who found it; for whom the operator says so, where it does.
    pub(super) reviewers: Vec<ContributorId>,
    pub(super) found: Found,
}

/// All reviews by what they are of, each list in the order of the log.
pub(super) fn recorded(book: &dyn Book) -> anyhow::Result<BTreeMap<RecordId, Vec<Recorded>>> {
    let mut reviews: BTreeMap<RecordId, Vec<Recorded>> = BTreeMap::new();
    let noted = book.registry().records().filter(|(_, noted)| noted.words == "review");
    for (id, noted) in noted {
        let Act::Review(found) = book.record(id)?.body.act else { bail!("record {id} is no review") };
        let reviewers = noted.attested_for.map_or_else(|| noted.authors.clone(), |person| vec![person]);
        reviews.entry(found.target).or_default().push(Recorded { index: noted.index, reviewers, found });
    }
    reviews.values_mut().for_each(|reviews| reviews.sort_by_key(|review| review.index));
    Ok(reviews)
}

fn parse_probability(text: &str) -> Result<Millionths, String> {
    const WANTS: &str = "a number from 0 to 1, such as 0.95, with six digits at the most";
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|digit| digit.is_ascii_digit());
    if !matches!(whole, "0" | "1") || !digits(part) || part.len() > 6 {
        return Err(WANTS.to_owned());
    }
    let part: Millionths = format!("{part:0<6}").parse().map_err(|_| WANTS.to_owned())?;
    let probability = if whole == "1" { MILLION + part } else { part };
    if probability <= MILLION { Ok(probability) } else { Err(WANTS.to_owned()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn probabilities_are_read_to_the_millionth() {
        for (text, millionths) in [("0", 0), ("1", MILLION), ("1.0", MILLION), ("0.95", 950_000), ("0.000001", 1)] {
            assert_eq!(parse_probability(text), Ok(millionths), "{text}");
        }
        for text in ["", ".", "1.000001", "2", "-0.5", "0.", "0.1234567", "0,5", "95%", "+1"] {
            assert!(parse_probability(text).is_err(), "{text}");
        }
    }
}
