//! What a certificate and its record take at most, before anything is reserved.

use birthmark_log::{RECORD_BYTES_MAX, Reservation};

use crate::pipeline::{ClaimedParts, Pipeline, Submitted};
use crate::record::{IssuedRecord, LostRecord};
use crate::rejection::Rejection;
use crate::request::Request;
use crate::slots::Ticket;
use crate::tbs::TbsCertificate;

impl Pipeline {
    pub(crate) fn reservation(
        &self,
        ticket: Ticket,
        tbs: &TbsCertificate,
        submitted: &Submitted,
        claimed: &ClaimedParts,
    ) -> Reservation {
        let identity = claimed.identity.as_deref();
        let (_, bytes) = self.sizes_max(tbs, &submitted.request, identity);
        Reservation {
            ticket,
            lost_record: self.lost_record(tbs),
            record_bytes_max: u32::try_from(bytes).unwrap_or(u32::MAX),
        }
    }

    /// Octets, at most, of the finished certificate and of its record.
    fn sizes_max(
        &self,
        tbs: &TbsCertificate,
        request: &Request,
        identity: Option<&str>,
    ) -> (usize, usize) {
        let certificate = tbs.buffer.len() + self.issuer.form().encoded_bytes_max();
        let (lot, line) = (request.lot.as_deref(), request.requester.as_deref());
        let record = IssuedRecord::bytes_max(
            &request.profile,
            lot,
            line,
            identity,
            &request.data,
            certificate,
        );
        (certificate, record)
    }

    /// Whether the profile and the log take the certificate, however long its signature is. Before anything is
    /// reserved: what is refused here leaves no trace in the log, and holds up nobody else.
    pub(super) fn check_size(
        &self,
        tbs: &TbsCertificate,
        request: &Request,
        profile: usize,
        identity: Option<&str>,
    ) -> Result<(), Rejection> {
        let (certificate, record) = self.sizes_max(tbs, request, identity);
        let rules = self.profiles[profile].profile.rules();
        let of_profile = rules.certificate_bytes_max.unwrap_or(usize::MAX);
        for (bytes, limit, max) in [
            (certificate, "the profile", of_profile),
            (record, "a record of the log", RECORD_BYTES_MAX),
        ] {
            if bytes > max {
                return Err(Rejection::CertificateTooLarge { bytes, limit, max });
            }
        }
        Ok(())
    }

    pub(super) fn lost_record(&self, tbs: &TbsCertificate) -> Vec<u8> {
        let issuer = self.issuer.key_identifier();
        LostRecord {
            time_ms: 0,
            issuer,
            serial: &tbs.serial,
            tbs_digest: &tbs.digest,
        }
        .encode()
    }
}
