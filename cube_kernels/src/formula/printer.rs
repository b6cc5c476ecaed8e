//! How expressions are printed.

use std::fmt;

use super::{
    catalogue::Notation,
    expr::{Axis, Expr, Extreme, Node, Place, Var},
};

/// Prints an expression with the given names for its leaves, in at most about `budget` characters.
///
/// A graph that shares nodes can be exponentially larger as text, hence the limit.
pub struct Printer<'a> {
    /// The expression.
    pub expr: &'a Expr,
    /// Names of the leaves.
    pub name: &'a dyn Fn(&Var) -> String,
    /// Characters after which the rest is left out.
    pub budget: usize,
}

/// The most levels of a formula that are printed. Printing deeper ones could overflow the stack.
pub const LEVELS: usize = 300;

impl fmt::Display for Printer<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut text = String::new();
        self.write(self.expr, LEVELS, &mut text);
        f.write_str(&text)
    }
}

impl Printer<'_> {
    /// Appends `expr` to `out`, with at most so many `levels`.
    pub fn write(&self, expr: &Expr, levels: usize, out: &mut String) {
        if out.len() > self.budget || levels == 0 {
            if !out.ends_with('…') {
                out.push('…');
            }
            return;
        }
        let levels = levels - 1;
        let call = |name: &str, args: &[Expr], out: &mut String| {
            out.push_str(name);
            out.push('(');
            for (k, arg) in args.iter().enumerate() {
                if k > 0 {
                    out.push_str(", ");
                }
                self.write(arg, levels, out);
            }
            out.push(')');
        };
        match expr.node() {
            Node::Var(var) => out.push_str(&(self.name)(var)),
            Node::Const(value) => out.push_str(&value.to_string()),
            Node::Place(Place::Index(axis)) => out.push_str(&axis.to_string()),
            Node::Place(Place::Offset) => out.push_str("(i - j)"),
            Node::Scalar(op, args) => match op.notation() {
                Notation::Infix(symbol) => {
                    out.push('(');
                    self.write(&args[0], levels, out);
                    out.push_str(&format!(" {symbol} "));
                    self.write(&args[1], levels, out);
                    out.push(')');
                }
                Notation::Prefix(symbol) => {
                    out.push_str(symbol);
                    self.write(&args[0], levels, out);
                }
                Notation::Call => call(&op.to_string(), args, out),
            },
            Node::Iota(start, len) => out.push_str(&format!("iota({start}..{})", start + len)),
            Node::InnerSum(arg) => call("sum", std::slice::from_ref(arg), out),
            Node::InnerExtremum(extreme, arg) => {
                let name = match extreme {
                    Extreme::Minimum => "min",
                    Extreme::Maximum => "max",
                };
                call(name, std::slice::from_ref(arg), out)
            }
            Node::Slice(arg, start, len) => {
                self.write(arg, levels, out);
                out.push_str(&format!("[{start}..{}]", start + len));
            }
            Node::Concat(args) => call("concat", args, out),
            Node::Expand(arg, dim) => {
                call("expand", std::slice::from_ref(arg), out);
                out.pop();
                out.push_str(&format!(", {dim})"));
            }
        }
    }
}

impl fmt::Display for Expr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |var: &Var| match (var.scalar, var.axis()) {
            (true, _) => format!("s{}", var.id),
            (_, Some(Axis::I)) => format!("x{}", var.id),
            (_, Some(Axis::J)) => format!("y{}", var.id),
            _ if var.is_of_pairs() => format!("z{}", var.id),
            _ => format!("p{}", var.id),
        };
        Printer {
            expr: self,
            name: &name,
            budget: 2000,
        }
        .fmt(f)
    }
}
