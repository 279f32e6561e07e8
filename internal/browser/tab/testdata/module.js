import "/dependency.js";
