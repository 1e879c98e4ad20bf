// A semi-open impeller for a small circulation pump: the kind of spare part that is worn out after ten
// years, when nobody stocks it any more. Prints flat on its back plate, without supports.
// Original work for Millrace, Apache-2.0. Units: millimetres.

outer_radius = 30;      // tip of the blades
inner_radius = 9.5;     // eye of the impeller, where the blades begin
plate_thickness = 2.4;
blade_count = 6;
blade_thickness = 1.8;
blade_exit_angle = 26;  // degrees from the tangent; a backward-curved blade
eye_height = 12.5;        // top of the blades at the eye
tip_height = 7.5;         // top of the blades at the rim
hub_radius = 7.5;
hub_height = 14.5;
shaft_diameter = 5.1;   // 5 mm motor shaft, sliding fit
shaft_flat = 2.1;       // distance of the D flat from the axis
balance_holes = 6;

$fn = 72;

// A logarithmic spiral meets every radius at the same angle.
function spiral_angle(r) = ln(r / inner_radius) / tan(blade_exit_angle) * 180 / PI;
function spiral_point(r, side) =
  let (a = spiral_angle(r), normal = a + 180 - blade_exit_angle)
  // The blade thins to half towards the tip.
  let (w = side * blade_thickness / 2 * (1 - 0.5 * (r - inner_radius) / (outer_radius - inner_radius)))
  [r * cos(a) + w * cos(normal), r * sin(a) + w * sin(normal)];

steps = 22;
function radius_at(i) = inner_radius - 3 + (outer_radius + 2 - inner_radius + 3) * i / steps;

module blade_outline() {
  polygon(concat(
    [for (i = [0:steps]) spiral_point(radius_at(i), 1)],
    [for (i = [steps:-1:0]) spiral_point(radius_at(i), -1)]
  ));
}

// Everything below the curved shroud line and inside the rim.
module passage() {
  rotate_extrude()
    polygon(concat(
      [[0, 0], [outer_radius, 0]],
      [for (i = [0:14]) let (t = i / 14, r = outer_radius + (hub_radius - 1 - outer_radius) * t)
        [r, tip_height + (eye_height - tip_height) * (1 - cos(90 * t))]],
      [[0, eye_height]]
    ));
}

module plate() {
  rotate_extrude()
    polygon([[0, 0], [outer_radius - 0.6, 0], [outer_radius, 0.6], [outer_radius, plate_thickness - 0.4],
             [outer_radius - 0.4, plate_thickness], [0, plate_thickness]]);
}

// Hub with a cove towards the plate and a rounded nose.
module hub() {
  cove = 4;
  nose = 2.5;
  rotate_extrude()
    polygon(concat(
      [[0, 0], [hub_radius + cove, 0], [hub_radius + cove, plate_thickness]],
      [for (i = [0:8]) let (a = 90 * i / 8) [hub_radius + cove * (1 - sin(a)), plate_thickness + cove * (1 - cos(a))]],
      [for (i = [0:8]) let (a = 90 * i / 8) [hub_radius - nose * (1 - cos(a)), hub_height - nose + nose * sin(a)]],
      [[0, hub_height]]
    ));
}

module shaft_bore() {
  translate([0, 0, -1]) intersection() {
    cylinder(d = shaft_diameter, h = hub_height + 2);
    translate([-shaft_diameter, -shaft_diameter, 0]) cube([shaft_diameter + shaft_flat, 2 * shaft_diameter, hub_height + 2]);
  }
  translate([0, 0, -0.01]) cylinder(d1 = shaft_diameter + 1.4, d2 = shaft_diameter - 0.2, h = 0.8);
}

difference() {
  union() {
    plate();
    hub();
    intersection() {
      passage();
      union() {
        for (k = [0:blade_count - 1]) rotate(k * 360 / blade_count) linear_extrude(height = eye_height + 1) blade_outline();
      }
    }
  }
  shaft_bore();
  // Holes that balance the thrust on the plate, one between each two blades.
  for (k = [0:balance_holes - 1]) rotate((k + 0.12) * 360 / balance_holes)
    translate([14.2, 0, -1]) cylinder(d = 2.6, h = plate_thickness + 2, $fn = 24);
}
