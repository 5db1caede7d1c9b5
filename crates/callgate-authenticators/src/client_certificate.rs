//! The client certificate that nats-server verified: its chains, and the names in it.

mod names;

use rustls::pki_types::{CertificateDer, pem::PemObject};

pub(crate) use names::{Names, parse};

/// The certificates that nats-server sent: the leaf, and whatever may lead to a root.
#[derive(Debug)]
pub(crate) struct Presented {
    pub(crate) leaf: CertificateDer<'static>,
    pub(crate) others: Vec<CertificateDer<'static>>,
}

impl Presented {
    /// Reads the verified chains, leaf first. Several chains must have the same leaf.
    pub(crate) fn read(chains: &[Vec<String>]) -> Result<Self, String> {
        let mut leaf = None;
        let mut others = Vec::new();
        for chain in chains {
            let mut chain = chain.iter().map(|pem| {
                CertificateDer::from_pem_slice(pem.as_bytes())
                    .map_err(|_| "nats-server sent a certificate that is not PEM".to_owned())
            });
            let first = chain.next().ok_or("nats-server sent an empty chain")??;
            if leaf.as_ref().is_some_and(|leaf| *leaf != first) {
                return Err("nats-server sent chains of different certificates".to_owned());
            }
            leaf = Some(first);
            for certificate in chain {
                let certificate = certificate?;
                if !others.contains(&certificate) {
                    others.push(certificate);
                }
            }
        }
        let leaf = leaf.ok_or("nats-server sent no verified chain")?;
        Ok(Self { leaf, others })
    }
}
