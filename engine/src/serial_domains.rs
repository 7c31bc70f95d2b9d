//! A serial number is handed out once because it is an identity, which is unique in one identity domain. So profiles
//! of different domains must not hand out the same.

use crate::profile::Profile;

/// Looks for two profiles of different identity domains whose ranges or lists have a number in common.
pub(crate) fn check_serial_domains(profiles: &[Profile]) -> Result<(), String> {
    for (number, profile) in profiles.iter().enumerate() {
        for other in &profiles[..number] {
            if profile.identity_domain() == other.identity_domain() {
                continue;
            }
            let both = profile.serials().zip(other.serials());
            if let Some(shared) = both.and_then(|(one, other)| one.shared_with(other)) {
                return Err(format!(
                    "profiles {} and {} both hand out serial number {shared}, in different identity domains: two \
                     devices would get it; give both the same identity_domain, or other numbers",
                    other.name(),
                    profile.name()
                ));
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::profile::IDEVID_TOML;

    #[test]
    fn a_number_has_one_domain() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("list"), "sn5\nother\n").unwrap();
        let profile = |name: &str, domain: &str, serial: &str| {
            let text = IDEVID_TOML
                .replace(
                    "name = \"idevid\"",
                    &format!("name = \"{name}\"\nidentity_domain = \"{domain}\""),
                )
                .replace("{csr.subject.serialNumber}", "{serial}");
            let text = format!("{text}\n[serial]\n{serial}\n");
            Profile::parse(&text, &folder.path().join("p.toml")).unwrap()
        };
        let low = "from = \"SN1\"\nto = \"SN5\"";
        let high = "from = \"SN5\"\nto = \"SN9\"";
        let apart = "from = \"SN6\"\nto = \"SN9\"";
        let list = "list = \"list\"";
        let check = |one: (&str, &str), two: (&str, &str)| {
            check_serial_domains(&[profile("a", one.0, one.1), profile("b", two.0, two.1)])
        };
        for (one, two, shared) in [(low, high, "SN5"), (low, list, "sn5"), (list, high, "sn5")] {
            assert_eq!(check(("d", one), ("d", two)), Ok(()));
            let error = check(("d", one), ("e", two)).unwrap_err();
            assert!(
                error.contains(&format!("serial number {shared},")),
                "{error}"
            );
        }
        assert_eq!(check(("d", low), ("e", apart)), Ok(()));
        assert_eq!(check(("d", apart), ("e", list)), Ok(()));
    }
}
