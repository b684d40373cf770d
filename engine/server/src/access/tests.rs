//! The rules of keys, each under its own name.

use loam_ledger_core::hash::digest;
use loam_wire::Kind;

use super::{Caller, FreshKey, KEYS_MAX, Keys, Scope, Scopes, bearer, fresh_key};

fn stanza(name: &str, key: &str, rest: &str) -> String {
    let sha256 = digest(key.as_bytes());
    format!("[[key]]\nname = '{name}'\ntenant = 'acme'\nsha256 = '{sha256}'\n{rest}\n")
}

fn keys(text: &str) -> Result<Keys, String> {
    Keys::new(&["plain-key"], Some(("keys.toml", text)), 2).map_err(|error| error.to_string())
}

fn ci() -> Keys {
    keys(&stanza("ci", "ci-key", "scopes = ['infer', 'admin']\nmax_requests = 1")).unwrap()
}

/// The file is refused, in these words.
#[track_caller]
fn refused(text: &str, words: &[&str]) {
    let error = keys(text).unwrap_err();
    for word in words {
        assert!(error.contains(word), "{word:?} is not in: {error}");
    }
}

/// The key is somebody's.
#[track_caller]
fn identified(keys: &Keys, key: &str) -> Caller {
    keys.identify(Some(key)).unwrap()
}

#[test]
fn a_key_is_its_holders() {
    let caller = identified(&ci(), "ci-key");
    assert_eq!((&**caller.name(), &**caller.tenant()), ("ci", "acme"));
    let may = Scope::ALL.map(|scope| caller.need(scope).is_ok());
    assert_eq!(may, Scope::ALL.map(|scope| matches!(scope, Scope::Infer | Scope::Admin)));
}

#[test]
fn plain_keys_ask_for_the_default_tenant() {
    let caller = identified(&ci(), "plain-key");
    assert_eq!(format!("{caller:?}"), "api-key of default (infer, audit:self)");
    let two = Keys::new(&["a", "b"], None, 1).unwrap();
    assert_eq!(&**identified(&two, "b").name(), "api-key-2");
}

#[test]
fn without_keys_everybody_is_local() {
    let keys = Keys::new(&[], None, 1).unwrap();
    assert!(keys.is_open());
    for presented in [None, Some("anything")] {
        let caller = keys.identify(presented).unwrap();
        assert_eq!((&**caller.name(), &**caller.tenant()), ("local", "default"));
        Scope::ALL.into_iter().for_each(|scope| caller.need(scope).unwrap());
    }
}

#[test]
fn a_missing_key_is_asked_for() {
    let problem = ci().identify(None).unwrap_err();
    assert_eq!(problem.kind, Kind::Unauthenticated);
    assert!(problem.message.contains("Authorization: Bearer"));
}

#[test]
fn an_unknown_key_is_refused_and_not_repeated() {
    for presented in ["ci-ke", "ci-key ", "CI-KEY", "", "loam_secret"] {
        let problem = ci().identify(Some(presented)).unwrap_err();
        assert_eq!(problem.kind, Kind::Unauthenticated);
        assert_eq!(problem.message, "the API key is not known here");
    }
}

#[test]
fn a_digest_is_no_key() {
    let sha256 = digest(b"ci-key").to_hex();
    assert!(ci().identify(Some(&sha256)).is_err());
}

#[test]
fn a_scope_that_is_lacking_is_named() {
    let caller = identified(&ci(), "ci-key");
    caller.need(Scope::Admin).unwrap();
    let problem = caller.need(Scope::AuditAll).unwrap_err();
    assert_eq!(problem.kind, Kind::Forbidden);
    assert_eq!(problem.message, "the key ci lacks the scope audit:all, which this needs");
}

#[test]
fn whoever_may_audit_everybody_may_audit_themselves() {
    assert!(Scopes::of(&[Scope::AuditAll]).has(Scope::AuditSelf));
    assert!(!Scopes::of(&[Scope::AuditSelf]).has(Scope::AuditAll));
    assert!(!Scopes::of(&[Scope::Admin]).has(Scope::Infer));
}

#[test]
fn a_key_has_so_many_requests_at_once() {
    let keys = ci();
    let first = identified(&keys, "ci-key").admit().unwrap();
    let problem = identified(&keys, "ci-key").admit().unwrap_err();
    assert_eq!((problem.kind, problem.retry_ms.is_some()), (Kind::Busy, true));
    assert!(problem.message.contains("the key ci has 1 requests"), "{}", problem.message);
    // Others have room of their own, as many as the server's setting says.
    let others: Vec<_> = (0..2).map(|_| identified(&keys, "plain-key").admit().unwrap()).collect();
    assert!(identified(&keys, "plain-key").admit().is_err());
    drop((first, others));
    identified(&keys, "ci-key").admit().unwrap();
}

#[test]
fn permits_are_counted_across_threads() {
    let keys = Keys::new(&["a"], None, 3).unwrap();
    let admitted = std::thread::scope(|scope| {
        let one = || scope.spawn(|| identified(&keys, "a").admit().ok());
        let threads: Vec<_> = (0..16).map(|_| one()).collect();
        threads.into_iter().filter_map(|thread| thread.join().unwrap()).collect::<Vec<_>>()
    });
    assert_eq!(admitted.len(), 3);
}

#[test]
fn a_field_that_is_not_known_is_refused_by_name() {
    refused(&stanza("ci", "k", "scopes = ['infer']\nrole = 'x'"), &["keys.toml: line 1", "`role`", "max_requests"]);
}

#[test]
fn a_scope_that_is_not_known_is_refused_by_name() {
    refused(&stanza("ci", "k", "scopes = ['root']"), &["key \"ci\"", "no scope \"root\"", "records:write"]);
}

#[test]
fn a_key_allows_something() {
    refused(&stanza("ci", "k", ""), &["key \"ci\"", "scopes is missing"]);
    refused(&stanza("ci", "k", "scopes = []"), &["scopes is empty"]);
    refused(&stanza("ci", "k", "scopes = [1]"), &["no array of texts"]);
}

#[test]
fn a_digest_has_64_digits() {
    let text = "[[key]]\nname = 'a'\ntenant = 'b'\nscopes = ['infer']\nsha256 = 'my-secret-key'";
    refused(text, &["key \"a\"", "64 lower-case hexadecimal digits"]);
    assert!(!keys(text).unwrap_err().contains("my-secret-key"));
}

#[test]
fn names_are_texts_of_some_length() {
    refused(&stanza("", "k", "scopes = ['infer']"), &["1 to 255 bytes"]);
    refused("[[key]]\nname = 1", &["name is missing, or no text"]);
    refused("[[key]]\nname = 'a'", &["key \"a\"", "tenant is missing"]);
}

#[test]
fn a_limit_is_a_number() {
    refused(&stanza("ci", "k", "scopes = ['infer']\nmax_requests = 0"), &["key \"ci\"", "max_requests"]);
}

#[test]
fn no_two_keys_have_one_name() {
    let scopes = "scopes = ['infer']";
    refused(&(stanza("a", "1", scopes) + &stanza("a", "2", scopes)), &["two keys are named \"a\""]);
    refused(&stanza("api-key", "1", scopes), &["two keys are named \"api-key\""]);
}

#[test]
fn no_two_names_have_one_key() {
    let scopes = "scopes = ['infer']";
    refused(&(stanza("a", "1", scopes) + &stanza("b", "1", scopes)), &["b and a are the same key"]);
    refused(&stanza("a", "plain-key", scopes), &["a and api-key are the same key"]);
}

#[test]
fn a_file_of_keys_holds_keys() {
    refused("", &["keys.toml: there is no [[key]]", "loam key new"]);
    refused("[[keys]]\nname = 'a'", &["line 1", "[[keys]]", "[[key]]"]);
    refused("name = 'a'", &["[[key]] and nothing else"]);
    refused("[[key]]\nname = \"secret", &["keys.toml: line 2"]);
}

#[test]
fn there_are_not_too_many_keys() {
    let many: String =
        (0..KEYS_MAX).map(|at| stanza(&format!("k{at}"), &at.to_string(), "scopes = ['infer']")).collect();
    refused(&many, &["more than 4096 keys"]);
}

#[test]
fn bearer_reads_one_header() {
    for (header, key) in [
        ("Bearer abc", Some("abc")),
        ("bearer  abc ", Some("abc")),
        ("BEARER abc", Some("abc")),
        ("Bearer a b", None),
        ("Bearer ", None),
        ("Bearer", None),
        ("Basic abc", None),
        ("", None),
    ] {
        assert_eq!(bearer(header), key, "{header:?}");
    }
}

#[test]
fn a_fresh_key_is_known_by_its_stanza() {
    let FreshKey { key, stanza } = fresh_key([7; 32], "a \"b\"", "acme", &[Scope::Infer, Scope::AuditSelf]).unwrap();
    assert_eq!(key, format!("loam_{}", "07".repeat(32)));
    assert!(!stanza.contains(&key) && !stanza.contains("0707"), "the stanza gives the key away: {stanza}");
    let caller = identified(&keys(&stanza).unwrap(), &key);
    assert_eq!(format!("{caller:?}"), "a \"b\" of acme (infer, audit:self)");
}

#[test]
fn a_fresh_key_is_refused_as_its_stanza_would_be() {
    assert!(fresh_key([7; 32], "", "acme", &[Scope::Infer]).is_err());
    assert!(fresh_key([7; 32], "a", "acme", &[]).is_err());
}

#[test]
fn keys_show_names_alone() {
    assert_eq!(format!("{:?}", ci()), "[\"api-key\", \"ci\"]");
}
