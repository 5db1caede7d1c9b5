//! The cost of an expression: an upper bound of its work and of the size of its values, computed from
//! the sizes of its inputs before it runs.
//!
//! CEL's interpreter has no budget of its own. Each rule here counts at least what the interpreter
//! (cel 0.15, `objects.rs`) reads, copies and allocates, including the copies in its error values.

use cel::{
    IdedExpr,
    common::ast::{CallExpr, ComprehensionExpr, EntryExpr, Expr, LiteralValue, operators},
};
use serde_json::{Map, Value as Json};

use super::{
    expression::{string_literal, unescape_reserved},
    functions::{MAX_PIECES, Regexes},
};

/// Reading or copying this many bytes of text costs as much as visiting one value.
const BYTES_PER_UNIT: u64 = 32;
/// The longest text of a number: 1e308 written out, with sign and fraction.
const MAX_NUMBER_BYTES: u64 = 350;

/// An upper bound of the size of a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Size {
    /// Values in total: itself and everything in it.
    pub(crate) nodes: u64,
    /// Bytes of text in total.
    pub(crate) bytes: u64,
    /// Elements of a list, or entries of a map.
    items: u64,
    /// Nodes and bytes of the largest element.
    item: (u64, u64),
}

impl Size {
    /// A text of this many bytes, a number, or `true` or `false`.
    pub(crate) const fn scalar(bytes: usize) -> Self {
        Self { nodes: 1, bytes: bytes as u64, items: 0, item: (0, 0) }
    }

    /// A list or a map with these elements, and keys of this many bytes.
    pub(crate) fn collection(elements: impl Iterator<Item = Self>) -> Self {
        elements.fold(Self::scalar(0), |all, element| Self {
            nodes: all.nodes.saturating_add(element.nodes),
            bytes: all.bytes.saturating_add(element.bytes),
            items: all.items.saturating_add(1),
            item: (all.item.0.max(element.nodes), all.item.1.max(element.bytes)),
        })
    }

    pub(crate) fn of_json(value: &Json) -> Self {
        match value {
            Json::String(text) => Self::scalar(text.len()),
            Json::Array(list) => Self::collection(list.iter().map(Self::of_json)),
            Json::Object(map) => Self::of_map(map),
            Json::Null | Json::Bool(_) | Json::Number(_) => Self::scalar(8),
        }
    }

    fn with_bytes(self, bytes: u64) -> Self {
        Self { bytes, ..self }
    }

    pub(crate) fn of_map(map: &Map<String, Json>) -> Self {
        Self::collection(map.iter().map(|(key, value)| {
            let value = Self::of_json(value);
            let bytes = value.bytes.saturating_add(key.len() as u64);
            Self { nodes: value.nodes.saturating_add(1), bytes, ..value }
        }))
    }

    /// The work to read, copy or drop it.
    pub(crate) fn units(self) -> u64 {
        self.nodes.saturating_add(self.bytes / BYTES_PER_UNIT)
    }

    /// One of its elements.
    fn element(self) -> Self {
        let (nodes, bytes) = self.item;
        Self { nodes, bytes, items: nodes.saturating_sub(1), item: (nodes, bytes) }
    }

    /// Some value inside it.
    fn part(self) -> Self {
        let Self { nodes, bytes, .. } = self;
        Self { nodes, bytes, items: nodes.saturating_sub(1), item: (nodes, bytes) }
    }

    fn either(self, other: Self) -> Self {
        Self {
            nodes: self.nodes.max(other.nodes),
            bytes: self.bytes.max(other.bytes),
            items: self.items.max(other.items),
            item: (self.item.0.max(other.item.0), self.item.1.max(other.item.1)),
        }
    }

    /// Two texts, numbers or lists, added.
    fn joined(self, other: Self) -> Self {
        let either = self.either(other);
        let nodes = match self.nodes.max(other.nodes) {
            0 | 1 => 1,
            _ => self.nodes.saturating_add(other.nodes),
        };
        Self {
            nodes,
            bytes: self.bytes.saturating_add(other.bytes),
            items: self.items.saturating_add(other.items),
            ..either
        }
    }

    fn repeated(self, times: u64) -> Self {
        Self {
            nodes: self.nodes.saturating_mul(times).saturating_add(1),
            bytes: self.bytes.saturating_mul(times),
            items: self.items.saturating_mul(times),
            item: self.item,
        }
    }
}

/// The sizes of the variables.
pub(crate) trait Sizes {
    /// The size of a variable, by the name that the operator writes.
    fn variable(&self, name: &str) -> Size;

    /// The size of the claim of this name.
    fn claim(&self, name: &str) -> Size;
}

/// What an expression costs at most.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cost {
    /// Work, in units of one visited value.
    pub(crate) units: u64,
    /// The most nodes and bytes of any value in it.
    pub(crate) nodes: u64,
    pub(crate) bytes: u64,
}

/// The cost of evaluating `root` with inputs of these sizes.
pub(crate) fn cost(root: &IdedExpr, sizes: &dyn Sizes, regexes: &Regexes) -> Cost {
    let mut estimate = Estimate { sizes, regexes, scope: Vec::new(), cost: Cost::default() };
    let result = estimate.size(root);
    // The interpreter copies the result.
    estimate.spend(result.units());
    estimate.cost
}

struct Estimate<'a> {
    sizes: &'a dyn Sizes,
    regexes: &'a Regexes,
    /// Variables of the loops around the current expression.
    scope: Vec<(&'a str, Size)>,
    cost: Cost,
}

impl<'a> Estimate<'a> {
    fn spend(&mut self, units: u64) {
        self.cost.units = self.cost.units.saturating_add(units);
    }

    /// The size of a value; adds the cost to compute it.
    fn size(&mut self, expr: &'a IdedExpr) -> Size {
        self.spend(1);
        let size = match &expr.expr {
            Expr::Unspecified | Expr::Struct(_) => Size::default(),
            Expr::Literal(literal) => literal_size(literal),
            Expr::Ident(name) => self.variable(name),
            Expr::Select(select) if select.test => {
                self.member(&select.operand, &select.field);
                Size::scalar(0)
            }
            Expr::Select(select) => self.member(&select.operand, &select.field),
            Expr::Call(call) => self.call(call),
            Expr::List(list) => {
                let elements: Vec<Size> = list.elements.iter().map(|one| self.size(one)).collect();
                self.built(Size::collection(elements.into_iter()))
            }
            Expr::Map(map) => {
                let entries: Vec<Size> = map
                    .entries
                    .iter()
                    .map(|entry| match &entry.expr {
                        EntryExpr::StructField(field) => self.size(&field.value),
                        EntryExpr::MapEntry(entry) => {
                            let key = self.size(&entry.key);
                            let value = self.size(&entry.value);
                            Size {
                                nodes: key.nodes.saturating_add(value.nodes),
                                ..key.joined(value)
                            }
                        }
                    })
                    .collect();
                self.built(Size::collection(entries.into_iter()))
            }
            Expr::Comprehension(comprehension) => self.comprehension(comprehension),
        };
        self.cost.nodes = self.cost.nodes.max(size.nodes);
        self.cost.bytes = self.cost.bytes.max(size.bytes);
        size
    }

    /// A new value, whose parts are copied.
    fn built(&mut self, size: Size) -> Size {
        self.spend(size.units());
        size
    }

    fn loop_variable(&self, name: &str) -> Option<Size> {
        self.scope.iter().rev().find(|(bound, _)| *bound == name).map(|(_, size)| *size)
    }

    fn variable(&mut self, name: &str) -> Size {
        match self.loop_variable(name) {
            Some(size) => size,
            None => self.sizes.variable(unescape_reserved(name.trim_start_matches('.'))),
        }
    }

    /// `operand.field` or `operand["field"]`. The interpreter borrows it from variables.
    fn member(&mut self, operand: &'a IdedExpr, field: &str) -> Size {
        match &operand.expr {
            Expr::Ident(name) if self.loop_variable(name).is_none() && is_claims(name) => {
                self.sizes.claim(field)
            }
            _ => self.size(operand).part(),
        }
    }

    fn call(&mut self, call: &'a CallExpr) -> Size {
        let name = call.func_name.as_str();
        if let (None, [left, right]) = (&call.target, call.args.as_slice()) {
            if name == operators::INDEX {
                return self.index(left, right);
            }
            if name == operators::IN
                && let Expr::Ident(root) = &right.expr
                && is_claims(root)
                && self.loop_variable(root).is_none()
            {
                // A lookup in a map.
                let key = self.size(left);
                self.spend(key.units());
                return Size::scalar(0);
            }
        }
        let target = call.target.as_deref().map(|target| self.size(target));
        let args: Vec<Size> = call.args.iter().map(|argument| self.size(argument)).collect();
        match (name, target, args.as_slice()) {
            (operators::CONDITIONAL, None, [_, then, otherwise]) => then.either(*otherwise),
            (operators::EQUALS | operators::NOT_EQUALS, None, [left, right]) => {
                self.spend(left.units().min(right.units()));
                Size::scalar(0)
            }
            (operators::IN, None, [element, list]) => {
                let compared = element.units().min(list.element().units());
                self.spend(list.items.saturating_mul(compared.saturating_add(1)) / 2);
                Size::scalar(0)
            }
            (operators::ADD, None, [left, right]) => self.built(left.joined(*right)),
            ("matches", ..) => {
                let text = target.or(args.first().copied()).unwrap_or_default();
                let factor = call.args.last().and_then(string_literal);
                let factor = factor.and_then(|regex| self.regexes.factor(&regex)).unwrap_or(1);
                // One unit per byte, not per `BYTES_PER_UNIT`, and the set-up of a search.
                self.spend(text.units().saturating_add(text.bytes).saturating_mul(factor));
                self.spend(10);
                Size::scalar(0)
            }
            ("split", Some(text), [separator]) => {
                let pieces = text.bytes.saturating_add(1).min(MAX_PIECES as u64);
                self.spend(separator.units());
                self.built(Size {
                    nodes: pieces.saturating_add(1),
                    bytes: text.bytes,
                    items: pieces,
                    item: (1, text.bytes),
                })
            }
            ("dyn", None, [value]) => *value,
            (name, target, args) => {
                let all = target.iter().chain(args);
                // Conversions of texts, time zones and errors copy their arguments.
                let read: u64 = all.clone().fold(0, |sum, size| size.units().saturating_add(sum));
                let bytes = all.fold(0, |sum, size| size.bytes.saturating_add(sum));
                self.spend(read.saturating_add(if is_operator(name) { 0 } else { 5 }));
                match name {
                    "string" | "bytes" => Size::scalar(0).with_bytes(bytes + MAX_NUMBER_BYTES),
                    "size" | "contains" | "startsWith" | "endsWith" => Size::scalar(0),
                    name if is_operator(name) => Size::scalar(0),
                    // Times, durations and types.
                    _ => Size::scalar(64),
                }
            }
        }
    }

    fn index(&mut self, container: &'a IdedExpr, index: &'a IdedExpr) -> Size {
        if let Some(field) = string_literal(index) {
            return self.member(container, &field);
        }
        let size = self.size(container);
        let key = self.size(index);
        self.spend(key.units());
        // With a literal index, nothing is copied. Otherwise the error may copy the container.
        if !matches!(index.expr, Expr::Literal(LiteralValue::Int(_))) {
            self.spend(size.units());
        }
        size.part()
    }

    fn comprehension(&mut self, comprehension: &'a ComprehensionExpr) -> Size {
        let ComprehensionExpr {
            iter_range,
            iter_var,
            accu_var,
            accu_init,
            loop_cond,
            loop_step,
            result,
            ..
        } = comprehension;
        let range = self.size(iter_range);
        let init = self.size(accu_init);
        let collects = is_empty_list(accu_init);
        let before = std::mem::take(&mut self.cost.units);
        // A list is appended to in place, so the accumulator itself costs nothing.
        let accumulator = if collects { Size::default() } else { init };
        self.scope.push((accu_var, accumulator));
        self.scope.push((iter_var, range.element()));
        self.size(loop_cond);
        let step = self.size(loop_step);
        self.scope.truncate(self.scope.len().saturating_sub(2));
        let body = self.cost.units.saturating_add(range.element().units()).saturating_add(2);
        self.cost.units = before;
        self.spend(body.saturating_mul(range.items));
        if collects {
            let list = step.repeated(range.items);
            return self.built(list);
        }
        self.scope.push((accu_var, step));
        let size = self.size(result);
        self.scope.truncate(self.scope.len().saturating_sub(1));
        size
    }
}

fn is_claims(name: &str) -> bool {
    name.trim_start_matches('.') == "claims"
}

fn is_operator(name: &str) -> bool {
    name.starts_with(['_', '@', '!', '-'])
}

pub(super) fn is_empty_list(expr: &IdedExpr) -> bool {
    matches!(&expr.expr, Expr::List(list) if list.elements.is_empty())
}

fn literal_size(literal: &LiteralValue) -> Size {
    Size::scalar(match literal {
        LiteralValue::String(text) => text.inner().len(),
        LiteralValue::Bytes(bytes) => bytes.inner().len(),
        LiteralValue::Boolean(_)
        | LiteralValue::Double(_)
        | LiteralValue::Int(_)
        | LiteralValue::Null
        | LiteralValue::UInt(_) => 0,
    })
}
