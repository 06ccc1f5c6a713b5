//! What a joint law says in closed form: the best split of compute, and the compute for a loss.

/// A joint law in raw units, with `C = 6·N·D`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Joint {
    pub e: f64,
    pub a: f64,
    pub alpha: f64,
    pub b: f64,
    pub beta: f64,
}

/// The best split of a budget.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Split {
    pub c: f64,
    pub n: f64,
    pub d: f64,
    pub loss: f64,
}

/// FLOPs per parameter and token.
pub(super) const PER_TOKEN: f64 = 6.0;

impl Joint {
    /// `ln G`, `G = (αA/(βB))^(1/(α+β))`.
    fn ln_g(&self) -> f64 {
        ((self.alpha * self.a).ln() - (self.beta * self.b).ln()) / (self.alpha + self.beta)
    }
    /// `G`.
    pub(super) fn g(&self) -> f64 {
        self.ln_g().exp()
    }
    /// Exponents of N and D in C.
    pub(super) fn exponents(&self) -> (f64, f64) {
        let sum = self.alpha + self.beta;
        (self.beta / sum, self.alpha / sum)
    }
    /// The loss at N and D.
    pub(super) fn loss(&self, n: f64, d: f64) -> f64 {
        self.e + self.a * n.powf(-self.alpha) + self.b * d.powf(-self.beta)
    }
    /// The N and D of least loss for a budget.
    pub(super) fn split(&self, c: f64) -> Split {
        let (of_n, of_d) = self.exponents();
        let ln = (c / PER_TOKEN).ln();
        let (n, d) = ((self.ln_g() + of_n * ln).exp(), (of_d * ln - self.ln_g()).exp());
        Split { c, n, d, loss: self.loss(n, d) }
    }
    /// The least compute for a loss; `None` at or below E.
    pub(super) fn compute_for(&self, target: f64) -> Option<f64> {
        if target <= self.e {
            return None;
        }
        let g = self.ln_g();
        let factor = self.a * (-self.alpha * g).exp() + self.b * (self.beta * g).exp();
        let power = -(self.alpha + self.beta) / (self.alpha * self.beta);
        Some(PER_TOKEN * ((target - self.e) / factor).powf(power))
    }
}
