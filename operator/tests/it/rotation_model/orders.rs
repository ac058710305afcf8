//! cert-manager and its issuer, which answers late, refuses, goes to another authority or loses a request; and the user, who
//! asks for another certificate while one is on order.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kube::ResourceExt;
use rcgen::{CertificateSigningRequestParams, ExtendedKeyUsagePurpose, KeyPair};
use secure_exporter_operator::{
    api::IssuerRef,
    render::certificate_request,
    rotation::{
        order::{Order, cert_manager::Correspondence},
        state::State,
    },
    spec::{ValidSpec, issuer::ValidIssuer},
    supplied::cert_manager::{Asked, CertificateRequest},
};
use secure_exporter_pki::IssuedPair;
use serde_json::json;

use super::{Mutant, World, issuer::root, reads::Unreadable, writes::Wanted};

/// What happens to orders.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum OrderAct {
    /// The issuer signs with an authority that nobody has heard of.
    NewAuthority,
    /// The issuer answers nothing for some hours.
    Delay,
    /// It refuses everything for some hours.
    Refuse,
    /// The user asks for another subject in the certificate.
    Change,
    /// Lets the operator sign, or the issuer again.
    ChangeIssuer,
    /// Somebody deletes the requests.
    Lose,
}

impl OrderAct {
    pub const ALL: [Self; 6] = [
        Self::NewAuthority,
        Self::Delay,
        Self::Refuse,
        Self::Change,
        Self::ChangeIssuer,
        Self::Lose,
    ];
}

/// How long the issuer may give no certificate.
const LONGEST_TROUBLE: u64 = 150;
/// How long it then works at least, so that less than what is left of a certificate when it is renewed is lost.
const CALM: SignedDuration = SignedDuration::from_hours(4);
/// How long an answer takes otherwise.
const LONGEST_ANSWER: u64 = 20;

/// cert-manager, and the requests.
pub struct Orders {
    roots: Vec<IssuedPair>,
    requests: Vec<Request>,
    trouble: Option<(OrderAct, Timestamp)>,
    changes: u32,
}

struct Request {
    object: CertificateRequest,
    /// When it is answered.
    due: Timestamp,
}

impl Orders {
    pub fn new() -> Self {
        Self {
            roots: vec![root(0)],
            requests: Vec::new(),
            trouble: None,
            changes: 0,
        }
    }

    pub fn mend(&mut self) {
        self.trouble = None;
    }

    fn change(&mut self, spec: &mut ValidSpec) {
        self.changes += 1;
        let subject = &mut spec.certificate.parameters.subject;
        subject.organization = Some(format!("Team {}", self.changes));
    }

    fn is_in(&self, act: OrderAct, now: Timestamp) -> bool {
        let trouble = self.trouble.filter(|(_, end)| now < *end);
        trouble.is_some_and(|(it, _)| it == act)
    }

    /// Answers what is due.
    fn answer(&mut self, now: Timestamp) {
        if self.is_in(OrderAct::Delay, now) {
            return;
        }
        let refuses = self.is_in(OrderAct::Refuse, now);
        let Some(root) = self.roots.last() else {
            return;
        };
        for request in &mut self.requests {
            if request.object.status.is_some() || now < request.due {
                continue;
            }
            let status = if refuses {
                let failed = json!({"type": "Ready", "status": "False", "reason": "Failed", "message": "no"});
                json!({"conditions": [failed]})
            } else {
                let bytes = |text: &str| ByteString(text.as_bytes().to_vec());
                let ready = json!({"type": "Ready", "status": "True", "reason": "Issued", "message": "fetched"});
                json!({
                    "conditions": [ready],
                    "certificate": bytes(&sign(&request.object, root, now)),
                    "ca": bytes(&root.certificate_pem),
                })
            };
            request.object.status = Some(serde_json::from_value(status).unwrap());
        }
    }
}

/// The certificate that a request asks for.
fn sign(request: &CertificateRequest, root: &IssuedPair, now: Timestamp) -> String {
    let ByteString(pem) = &request.spec.request;
    let pem = std::str::from_utf8(pem).unwrap();
    let mut signing = CertificateSigningRequestParams::from_pem(pem).unwrap();
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let seconds = request.spec.duration.as_ref().unwrap();
    let seconds: u64 = seconds.trim_end_matches('s').parse().unwrap();
    let begin = now.as_second() as u64;
    signing.params.not_before = epoch + Duration::from_secs(begin);
    signing.params.not_after = epoch + Duration::from_secs(begin + seconds);
    signing.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let key = KeyPair::from_pem(root.key_pem.expose()).unwrap();
    let issuer = rcgen::Issuer::from_ca_cert_pem(&root.certificate_pem, key).unwrap();
    signing.signed_by(&issuer).unwrap().pem()
}

pub fn cert_manager() -> ValidIssuer {
    ValidIssuer::CertManager {
        issuer: serde_json::from_value::<IssuerRef>(json!({"name": "corporate"})).unwrap(),
        bundle: None,
    }
}

impl World {
    pub(super) fn act_on_orders(&mut self, act: OrderAct) {
        let (now, length) = (self.now, self.roll(LONGEST_TROUBLE));
        let Some(orders) = &mut self.orders else {
            return;
        };
        match act {
            OrderAct::NewAuthority => orders.roots.push(root(orders.roots.len())),
            OrderAct::Delay | OrderAct::Refuse => {
                if orders.trouble.is_none_or(|(_, end)| end + CALM <= now) {
                    orders.trouble = Some((act, now + length));
                }
            }
            OrderAct::Change => orders.change(&mut self.spec),
            OrderAct::ChangeIssuer => {
                self.spec.issuer = match self.spec.issuer {
                    ValidIssuer::Managed => cert_manager(),
                    _ => ValidIssuer::Managed,
                }
            }
            OrderAct::Lose => orders.requests.clear(),
        }
    }

    pub(super) fn answer_orders(&mut self) {
        let now = self.now;
        if let Some(orders) = &mut self.orders {
            orders.answer(now);
        }
    }

    /// What the operator reads of the requests.
    pub(super) fn asked(&self, spec: &ValidSpec, order: Option<&Order>) -> Asked {
        let is_of_cert_manager = matches!(spec.issuer, ValidIssuer::CertManager { .. });
        let Some(orders) = &self.orders else {
            return Asked::Open(Vec::new());
        };
        if !is_of_cert_manager && order.is_none() {
            return Asked::Open(Vec::new());
        }
        if self.is_unread(Unreadable::Supply) {
            return Asked::Unread("500".to_owned());
        }
        let all = orders.requests.iter();
        Asked::Open(all.map(|request| request.object.clone()).collect())
    }

    /// Creates the request that belongs to the order, and deletes all other ones.
    pub(super) fn write_requests(&mut self, wanted: &Wanted<'_>) -> Result<(), String> {
        let ValidIssuer::CertManager { issuer, .. } = &wanted.spec.issuer else {
            return Ok(());
        };
        let order = wanted.stored.order.as_ref();
        let request = order.map(|it| certificate_request(wanted.spec, &self.owner, issuer, it));
        let Asked::Open(present) = wanted.requests else {
            return Ok(());
        };
        let name = request.as_ref().map(ResourceExt::name_any);
        let is_wanted = |one: &&CertificateRequest| Some(one.name_any()) == name;
        for one in present.iter().filter(|one| !is_wanted(one)) {
            if !self.delete_request(&one.name_any()) {
                return Ok(());
            }
        }
        match request {
            Some(request) if !present.iter().any(|one| is_wanted(&one)) => self.ask_for(request),
            _ => Ok(()),
        }
    }

    /// Deletes the requests of an issuer that is no longer used. `None` if the operator dies.
    pub(super) fn withdraw_order(
        &mut self,
        spec: &ValidSpec,
        before: Option<&Order>,
        next: Option<&Order>,
        requests: &Asked,
    ) -> Option<Option<Order>> {
        let is_of_cert_manager = matches!(spec.issuer, ValidIssuer::CertManager { .. });
        if before.is_none() || next.is_some() || is_of_cert_manager {
            return Some(next.cloned());
        }
        let Asked::Open(present) = requests else {
            return Some(before.cloned());
        };
        let mut names = present.iter().map(ResourceExt::name_any);
        names
            .all(|name| self.delete_request(&name))
            .then(|| next.cloned())
    }

    fn delete_request(&mut self, name: &str) -> bool {
        let may = self.may_write();
        if may && let Some(orders) = &mut self.orders {
            orders.requests.retain(|it| it.object.name_any() != name);
        }
        may
    }

    fn ask_for(&mut self, object: CertificateRequest) -> Result<(), String> {
        if !self.may_write() {
            return Ok(());
        }
        let stored = self.store.state.get().and_then(|it| it.order.as_ref());
        let stored = stored.map(|it| ByteString(it.signing.request_pem.as_bytes().to_vec()));
        if stored.as_ref() != Some(&object.spec.request) {
            return Err("a certificate is requested whose key is not stored".to_owned());
        }
        let due = self.now + self.roll(LONGEST_ANSWER);
        if let Some(orders) = &mut self.orders
            && orders
                .requests
                .iter()
                .all(|it| it.object.name_any() != object.name_any())
        {
            orders.requests.push(Request { object, due });
        }
        Ok(())
    }

    /// Whether nothing is on order, and the certificate is the one that the spec asks for.
    pub(super) fn has_its_orders(&self, state: &State) -> bool {
        let Some(orders) = &self.orders else {
            return true;
        };
        let is_open = self.store.state.get().is_some_and(|it| it.order.is_some());
        let ValidIssuer::CertManager { issuer, .. } = &self.spec.issuer else {
            // One may be left whose answer was taken: the operator died before it deleted it, and then the issuer changed.
            // It goes with the resource.
            let is_answered = |it: &Request| it.object.status.is_some();
            return !is_open && orders.requests.iter().all(is_answered);
        };
        let wanted = Correspondence {
            spec: &self.spec,
            owner: &self.owner,
            issuer,
            asked: &Asked::Open(Vec::new()),
            last_asked: None,
            bundle: None,
            timers: &self.timers,
            now: self.now,
        };
        !is_open && orders.requests.is_empty() && state.leaf.parameters == wanted.parameters()
    }

    /// An order that was not refused and asks for the same is not replaced: somebody may be about to answer it.
    pub(super) fn check_patience(
        before: Option<&Order>,
        next: Option<&Order>,
    ) -> Result<(), String> {
        let (Some(before), Some(next)) = (before, next) else {
            return Ok(());
        };
        let is_same = before.signing == next.signing || before.parameters != next.parameters;
        if is_same || before.refused.is_some() {
            return Ok(());
        }
        Err("an order is replaced that nobody has answered".to_owned())
    }

    /// The certificate that answers another request than the order's.
    pub(super) fn other_answer(&self, order: &Order, requests: &Asked) -> Option<String> {
        let Asked::Open(all) = requests else {
            return None;
        };
        if self.mutant != Mutant::TakesAnyAnswer {
            return None;
        }
        let ours = order.signing.request_pem.as_bytes();
        let mut others = all.iter().filter(|it| it.spec.request.0 != ours);
        let ByteString(pem) = others.find_map(|it| it.status.as_ref()?.certificate.clone())?;
        String::from_utf8(pem).ok()
    }
}
